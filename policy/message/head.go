// Package message reads the heads of HTTP/1.1 messages, as strictly as Envoy's codec
// where two readers could take a message for two different ones (RFC 9112 sections
// 2.2, 5 and 6), and says what a waypoint's policies see of a request: See. The live
// waypoint, explain and the comparison with Envoy all read requests here. Nothing is
// decided here, and no connection is read.
package message

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a head, which are Envoy's own.
const (
	MaxHead   = 60 << 10
	maxFields = 100
)

// The faults of a message.
var (
	ErrMalformed = errors.New("malformed message")
	ErrTooLarge  = errors.New("message head is too large")
	ErrTransfer  = errors.New("transfer coding is not implemented")
	ErrVersion   = errors.New("not HTTP/1.1")
	ErrHost      = errors.New("no Host")
)

// Malformed returns an ErrMalformed that says what is wrong.
func Malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Field is one header line.
type Field struct{ Name, Value string }

// Body is how a message's body is delimited.
type Body int

// The ways.
const (
	NoBody     Body = iota
	Sized           // by Length
	Chunked         // by chunks
	UntilClose      // by the end of the connection
)

// Head is a message's head: a request's or a response's. It is read again and
// again into the same value; its strings stay valid.
type Head struct {
	Method, Target string // of a request
	Host           string
	Status         int // of a response
	Reason         string
	Minor          int // of the version 1.x
	Fields         []Field
	Body           Body
	Length         int64
	Close          bool   // no further message on this connection
	Upgrade        string // the protocol to upgrade to
	upgrading      bool   // asks for an upgrade, if only to ""
	connection     string // the Connection fields, joined
	nominated      []string
}

// KnownMethod reports whether Envoy's parser takes a method for one (quiche BalsaFrame
// with Envoy's list, source/common/http/http1/balsa_parser.cc).
func KnownMethod(m string) bool {
	switch m {
	case "GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE",
		"ACL", "BIND", "CHECKOUT", "COPY", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL",
		"MOVE", "MSEARCH", "NOTIFY", "PROPFIND", "PROPPATCH", "PURGE", "REBIND", "REPORT",
		"SEARCH", "SOURCE", "SUBSCRIBE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE":
		return true
	}
	return false
}

// ParseRequest reads a request's head: its lines, each with its end, without the
// empty one behind them.
func (h *Head) ParseRequest(raw string) error {
	fields := h.Fields[:0]
	*h = Head{Fields: fields, nominated: h.nominated[:0]}
	line, rest, _ := strings.Cut(raw, "\r\n")
	method, line := cutWord(line)
	target, version := cutWord(line)
	if !KnownMethod(method) || target == "" || version == "" && strings.HasPrefix(target, "HTTP/") {
		return Malformed("request line")
	}
	var versionErr error
	if h.Minor, versionErr = minor(version); versionErr != nil && !errors.Is(versionErr, ErrVersion) {
		return versionErr
	}
	if versionErr == nil && h.Minor != 1 {
		versionErr = ErrVersion // Istio's PILOT_HTTP10 is off
	}
	if !each(target, isVisible) {
		return Malformed("request target")
	}
	h.Method, h.Target = method, target
	if err := h.parseFields(rest); err != nil {
		return err
	}
	err := h.frameRequest()
	if versionErr != nil && (err == nil || errors.Is(err, ErrHost)) {
		err = versionErr
	}
	if err == nil || !errors.Is(err, ErrVersion) && !errors.Is(err, ErrHost) {
		return err
	}
	// What is wrong with the target comes first, and a whole URL needs no Host.
	_, _, refused := h.path()
	switch {
	case refused != nil && refused.Body != "":
		return refused.Err
	case errors.Is(err, ErrHost) && target[0] != '/' && target[0] != '*':
		return nil
	}
	return err
}

// cutWord cuts the first word off a request line.
func cutWord(line string) (word, rest string) {
	i := strings.IndexAny(line, " \t")
	if i < 0 {
		return line, ""
	}
	return line[:i], strings.Trim(line[i:], " \t")
}

func minor(version string) (int, error) {
	switch version {
	case "HTTP/1.1":
		return 1, nil
	case "HTTP/1.0":
		return 0, nil
	}
	v, ok := strings.CutPrefix(version, "HTTP/")
	if version == "" || ok && len(v) == 3 && isDigit(v[0]) && v[1] == '.' && isDigit(v[2]) {
		return 0, ErrVersion
	}
	return 0, Malformed("version")
}

// ParseResponse reads a response's head, in the form of ParseRequest; the request's
// method decides whether a body follows.
func (h *Head) ParseResponse(raw, method string) error {
	fields := h.Fields[:0]
	*h = Head{Fields: fields, nominated: h.nominated[:0]}
	line, rest, _ := strings.Cut(raw, "\r\n")
	version, rest2, _ := strings.Cut(line, " ")
	code, reason, _ := strings.Cut(rest2, " ")
	var err error
	if h.Minor, err = minor(version); err != nil {
		return err
	}
	if h.Status, err = strconv.Atoi(code); err != nil || len(code) != 3 || !each(code, isDigit) || code[0] == '0' {
		return Malformed("status")
	}
	if !ValidValue(reason) {
		return Malformed("reason")
	}
	h.Reason = reason
	if err := h.parseFields(rest); err != nil {
		return err
	}
	return h.frameResponse(method)
}

func (h *Head) parseFields(raw string) error {
	for raw != "" {
		var line string
		line, raw, _ = strings.Cut(raw, "\r\n")
		name, value, ok := strings.Cut(line, ":")
		if !ok || !ValidName(name) {
			return Malformed("header name")
		}
		value = strings.Trim(value, " \t")
		if !ValidValue(value) {
			return Malformed("value of header %s", name)
		}
		h.Fields = append(h.Fields, Field{name, value})
	}
	if len(h.Fields) > maxFields && h.entries() > maxFields {
		return ErrTooLarge
	}
	return nil
}

// entries is how many fields there are to Envoy, which counts those that it joins as
// one.
func (h *Head) entries() int {
	n, known := 0, map[string]bool{}
	for _, f := range h.Fields {
		name := strings.ToLower(f.Name)
		if !known[name] {
			n++
		}
		known[name] = Joined(name) || name == "host" || name == "te"
	}
	return n
}

// ValidName reports whether a header field may be called so.
func ValidName(s string) bool {
	return s != "" && each(s, func(c byte) bool {
		return isLetter(c) || isDigit(c) || strings.IndexByte("-_!#$%&'*+.^`|~", c) >= 0
	})
}

// ValidValue reports whether a header field may hold that.
func ValidValue(s string) bool {
	return each(s, func(c byte) bool { return (c >= ' ' || c == '\t') && c != 0x7f })
}

// framing is what the fields say about where a body ends.
type framing struct {
	length   int64
	sized    bool
	chunked  bool
	transfer int
	hosts    int
	upgrades bool
}

func (h *Head) readFraming() (framing, error) {
	f := framing{length: -1}
	h.Close = h.Minor == 0
	for _, field := range h.Fields {
		switch len(field.Name) {
		case len("host"), len("upgrade"), len("connection"), len("content-length"), len("transfer-encoding"):
		default:
			continue
		}
		switch {
		case strings.EqualFold(field.Name, "content-length"):
			n, err := strconv.ParseUint(field.Value, 10, 62)
			if err != nil || f.sized || field.Value[0] == '+' {
				return f, Malformed("content-length")
			}
			f.sized, f.length = true, int64(n)
		case strings.EqualFold(field.Name, "transfer-encoding"):
			if f.transfer++; f.transfer > 1 || !strings.EqualFold(field.Value, "chunked") {
				return f, ErrTransfer
			}
			f.chunked = true
		case strings.EqualFold(field.Name, "connection"):
			h.readConnection(field.Value)
		case strings.EqualFold(field.Name, "upgrade"):
			f.upgrades = true
		case strings.EqualFold(field.Name, "host"):
			f.hosts++
		}
	}
	if f.hosts > 0 {
		h.Host, _ = h.Joined("host")
	}
	if f.upgrades {
		h.Upgrade, _ = h.Joined("upgrade")
	}
	if f.chunked && f.sized {
		return f, Malformed("content-length and transfer-encoding")
	}
	if f.chunked && h.Minor == 0 && h.Method == "" {
		return f, Malformed("transfer-encoding in HTTP/1.0") // of a response: requests of 1.0 are refused
	}
	if containsFold(h.nominated, "content-length") || containsFold(h.nominated, "transfer-encoding") {
		return f, Malformed("connection names what delimits the body")
	}
	if h.upgrading = f.upgrades && containsFold(h.nominated, "upgrade"); !h.upgrading {
		h.Upgrade = ""
	}
	return f, nil
}

func (h *Head) readConnection(value string) {
	for option := range strings.SplitSeq(value, ",") {
		option = strings.Trim(option, " \t")
		switch {
		case strings.EqualFold(option, "close"):
			h.Close = true
		case strings.EqualFold(option, "keep-alive"):
			if h.Minor == 0 {
				h.Close = false
			}
		case option != "":
			h.nominated = append(h.nominated, option)
		}
	}
}

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(x string) bool { return strings.EqualFold(x, s) })
}

func (h *Head) frameRequest() error {
	f, err := h.readFraming()
	if err != nil {
		return err
	}
	if err := h.readNominated(); err != nil {
		return err
	}
	switch {
	case f.chunked:
		h.Body = Chunked
	case f.length > 0:
		h.Body, h.Length = Sized, f.length
	}
	if h.Upgrade != "" && h.Body != NoBody {
		return Malformed("an upgrade with a body")
	}
	if f.hosts == 0 && !strings.Contains(h.Target, "://") || containsFold(h.nominated, "host") {
		return ErrHost
	}
	return nil
}

// maxNominated is how many fields a Connection field may not name.
const maxNominated = 10

// readNominated goes over what the Connection fields of a request name, as Envoy does
// (source/common/http/utility.cc, sanitizeConnectionHeader): an upgrade keeps it all, but
// for one to h2c, which Envoy takes for none.
func (h *Head) readNominated() error {
	h2c := strings.EqualFold(h.Upgrade, "h2c")
	if h2c {
		h.Upgrade, h.upgrading = "", false
		h.nominated = append(h.nominated, "http2-settings")
	} else {
		h.nominated = slices.DeleteFunc(h.nominated, func(n string) bool {
			return strings.EqualFold(n, "http2-settings")
		})
	}
	if h.upgrading {
		h.connection, _ = h.Joined("connection")
		h.nominated = h.nominated[:0]
		return nil
	}
	if len(h.nominated) == 0 {
		return nil
	}
	for _, n := range h.nominated {
		if n[0] == ':' || strings.EqualFold(n, "x-forwarded-for") || strings.EqualFold(n, "x-forwarded-host") ||
			strings.EqualFold(n, "x-forwarded-proto") {
			return Malformed("connection names %s", n)
		}
	}
	options := 0
	value, _ := h.Joined("connection")
	for option := range strings.SplitSeq(value, ",") {
		word := strings.Trim(option, " \t")
		if option != "" && !(h2c && (strings.EqualFold(word, "upgrade") || strings.EqualFold(word, "http2-settings"))) {
			options++
		}
	}
	if options >= maxNominated {
		return Malformed("connection names %d fields", options)
	}
	if te, _ := h.Joined("te"); len(te) >= 256 && containsFold(h.nominated, "te") {
		return Malformed("te is too long")
	}
	return nil
}

func (h *Head) frameResponse(method string) error {
	f, err := h.readFraming()
	if err != nil {
		return err
	}
	switch {
	case h.Status/100 == 1, h.Status == 204, h.Status == 304, method == "HEAD":
	case f.chunked:
		h.Body = Chunked
	case f.sized:
		if f.length > 0 {
			h.Body, h.Length = Sized, f.length
		}
	default:
		h.Body, h.Close = UntilClose, true
	}
	return nil
}

// Get returns the first value of a field.
func (h *Head) Get(name string) string {
	for _, f := range h.Fields {
		if len(f.Name) == len(name) && strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// hopByHop reports whether a field concerns this connection only.
func (h *Head) hopByHop(name string) bool {
	switch len(name) {
	case 2, 7, 10, 16:
		if strings.EqualFold(name, "te") || strings.EqualFold(name, "upgrade") || strings.EqualFold(name,
			"connection") || strings.EqualFold(name, "keep-alive") || strings.EqualFold(name, "proxy-connection") {
			return true
		}
	}
	return len(h.nominated) > 0 && containsFold(h.nominated, name)
}

// Kept calls yield for each field that a proxy passes on.
func (h *Head) Kept(yield func(Field) bool) {
	for _, f := range h.Fields {
		if !h.hopByHop(f.Name) && !yield(f) {
			return
		}
	}
}
