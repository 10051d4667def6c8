// Package problem holds the errors that callers get: RFC 9457 problem details
// with a small closed set of codes. What a person needs to mend the request
// goes into the detail; what only the operator of the service needs goes to the
// log instead. A new code is added here or nowhere.
package problem

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Code names one kind of error, once for all services. It is the last part of
// the problem's type.
type Code string

// The closed set of codes, with the status that each is answered with.
const (
	MalformedBody       Code = "malformed-body"       // 400: not one JSON value of the expected shape
	UnknownField        Code = "unknown-field"        // 400: a JSON field that the endpoint does not know
	WrongType           Code = "wrong-type"           // 400: a JSON field of another type
	NotFound            Code = "not-found"            // 404
	MethodNotAllowed    Code = "method-not-allowed"   // 405, with Allow
	WrongPhase          Code = "wrong-phase"          // 409: the mission is not where this makes sense
	BodyTooLarge        Code = "body-too-large"       // 413
	WrongContentType    Code = "wrong-content-type"   // 415
	OutOfRange          Code = "out-of-range"         // 422: well-formed, but no value that can be flown
	Internal            Code = "internal"             // 500
	UpstreamDenied      Code = "upstream-denied"      // 502: the peer, or the mesh before it, answered 403
	UpstreamReset       Code = "upstream-reset"       // 502: the connection was cut
	UpstreamNonsense    Code = "upstream-nonsense"    // 502: an answer that is not what the peer answers
	UpstreamError       Code = "upstream-error"       // 502: the peer answered an error of its own
	UpstreamUnreachable Code = "upstream-unreachable" // 503: nobody there
	UpstreamTimeout     Code = "upstream-timeout"     // 504: no answer within the bound
)

var kinds = map[Code]struct {
	status int
	title  string
}{
	MalformedBody:       {http.StatusBadRequest, "The body is not what this endpoint reads"},
	UnknownField:        {http.StatusBadRequest, "The body has a field that this endpoint does not know"},
	WrongType:           {http.StatusBadRequest, "A field of the body has the wrong type"},
	NotFound:            {http.StatusNotFound, "No such endpoint"},
	MethodNotAllowed:    {http.StatusMethodNotAllowed, "The endpoint does not take this method"},
	WrongPhase:          {http.StatusConflict, "The mission is in another phase"},
	BodyTooLarge:        {http.StatusRequestEntityTooLarge, "The body is too large"},
	WrongContentType:    {http.StatusUnsupportedMediaType, "The body must be application/json"},
	OutOfRange:          {http.StatusUnprocessableEntity, "A value is out of range"},
	Internal:            {http.StatusInternalServerError, "The service failed"},
	UpstreamDenied:      {http.StatusBadGateway, "A service denied the call"},
	UpstreamReset:       {http.StatusBadGateway, "The connection to a service was cut"},
	UpstreamNonsense:    {http.StatusBadGateway, "A service gave an answer that makes no sense"},
	UpstreamError:       {http.StatusBadGateway, "A service failed"},
	UpstreamUnreachable: {http.StatusServiceUnavailable, "A service could not be reached"},
	UpstreamTimeout:     {http.StatusGatewayTimeout, "A service did not answer in time"},
}

// Codes returns the closed set with the status of each.
func Codes() map[Code]int {
	codes := make(map[Code]int, len(kinds))
	for code, kind := range kinds {
		codes[code] = kind.status
	}
	return codes
}

// TypePrefix comes before the Code in a problem's type: a URN, since there is
// no page to fetch offline.
const TypePrefix = "urn:artemis:problem:"

// MediaType is the content type of a problem (RFC 9457 section 6.1).
const MediaType = "application/problem+json"

// Problem is one error as the caller gets it. It is an error itself.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   Code   `json:"code"`
	// Field names the JSON field at fault, if one is.
	Field string `json:"field,omitempty"`
	// Peer names the service at fault as "cell/service", if one is.
	Peer string `json:"peer,omitempty"`
	// Allow lists the methods of the endpoint at a 405; sent as the header.
	Allow []string `json:"-"`
	cause error
}

// New makes the problem of a code.
func New(code Code, format string, args ...any) *Problem {
	kind, ok := kinds[code]
	if !ok {
		code, kind = Internal, kinds[Internal]
	}
	return &Problem{
		Type: TypePrefix + string(code), Title: kind.title, Status: kind.status,
		Detail: fmt.Sprintf(format, args...), Code: code,
	}
}

// In names the JSON field at fault.
func (p *Problem) In(field string) *Problem { p.Field = field; return p }

// At names the peer at fault.
func (p *Problem) At(peer string) *Problem { p.Peer = peer; return p }

// Because keeps the internal cause, for the log only.
func (p *Problem) Because(err error) *Problem { p.cause = err; return p }

// Error is the line for the log, with the cause.
func (p *Problem) Error() string {
	if p.cause != nil {
		return fmt.Sprintf("%s: %s: %v", p.Code, p.Detail, p.cause)
	}
	return fmt.Sprintf("%s: %s", p.Code, p.Detail)
}

// Unwrap returns the internal cause.
func (p *Problem) Unwrap() error { return p.cause }

// From makes a problem of any error: itself if it is one, otherwise Internal
// with nothing of the cause in it.
func From(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	return New(Internal, "see the service's log").Because(err)
}

// Parse reads a problem that a peer answered, and reports whether it is one of
// the closed set with the status that belongs to it.
func Parse(status int, body []byte) (*Problem, bool) {
	var p Problem
	if json.Unmarshal(body, &p) != nil {
		return nil, false
	}
	kind, ok := kinds[p.Code]
	if !ok || kind.status != status || p.Status != status || p.Type != TypePrefix+string(p.Code) {
		return nil, false
	}
	p.Title = kind.title
	return &p, true
}

// IsUpstream reports whether the code says that a peer is at fault.
func (c Code) IsUpstream() bool { return strings.HasPrefix(string(c), "upstream-") }
