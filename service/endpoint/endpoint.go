// Package endpoint serves a role's endpoints: routing on the path as a policy
// saw it, bounded and strict reading of bodies, answers with their trace, and
// problems. It knows nothing of the mission.
package endpoint

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"artemis.example/service/problem"
)

// Bounds of what is read from a caller.
const (
	MaxBody   = 64 << 10
	MaxHeader = 16 << 10
)

// Endpoint is one method on one path of the catalog. A path that ends in "/*"
// takes what follows the slash.
type Endpoint struct {
	Method string
	Path   string
	// answer computes what is written as JSON with the trace. Exactly one of
	// answer and stream is set.
	answer func(ctx context.Context, r *http.Request) (any, error)
	stream http.Handler
}

// Get answers GET without a body.
func Get(path string, answer func(ctx context.Context) (any, error)) Endpoint {
	return GetRequest(path, func(ctx context.Context, _ *http.Request) (any, error) { return answer(ctx) })
}

// GetRequest is Get for an endpoint that reads the query.
func GetRequest(path string, answer func(ctx context.Context, r *http.Request) (any, error)) Endpoint {
	return Endpoint{Method: http.MethodGet, Path: path, answer: answer}
}

// Post answers POST with a JSON object that has exactly the fields of In. No
// body at all is an empty object.
func Post[In any](path string, answer func(ctx context.Context, in In) (any, error)) Endpoint {
	return PostOr(path, *new(In), answer)
}

// PostOr is Post for an endpoint that takes an empty body, whatever its content
// type, for an order of its own: curl -X POST alone is one.
func PostOr[In any](path string, empty In, answer func(ctx context.Context, in In) (any, error)) Endpoint {
	return post(path, empty, func(ctx context.Context, _ *http.Request, in In) (any, error) { return answer(ctx, in) })
}

func post[In any](path string, empty In, answer func(context.Context, *http.Request, In) (any, error)) Endpoint {
	return Endpoint{Method: http.MethodPost, Path: path, answer: func(ctx context.Context, r *http.Request) (any,
		error) {
		in, err := read(r, empty)
		if err != nil {
			return nil, err
		}
		return answer(ctx, r, in)
	}}
}

// PostUnder is Post for a path that ends in "/*": rest is what followed the
// slash, raw. An error of code NotFound says that nothing is there.
func PostUnder[In any](path string, answer func(ctx context.Context, rest string, in In) (any, error)) Endpoint {
	prefix := strings.TrimSuffix(path, "*")
	return post(path, *new(In), func(ctx context.Context, r *http.Request, in In) (any, error) {
		return answer(ctx, strings.TrimPrefix(r.URL.EscapedPath(), prefix), in)
	})
}

// Stream answers GET with what is no JSON answer: events and embedded files.
func Stream(path string, h http.HandlerFunc) Endpoint {
	return Endpoint{Method: http.MethodGet, Path: path, stream: h}
}

// read reads a body, or takes empty for one that has no byte.
func read[In any](r *http.Request, empty In) (in In, err error) {
	if r.ContentLength == 0 {
		return empty, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, MaxBody))
	if err != nil {
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			return in, problem.New(problem.BodyTooLarge, "the body may have %d bytes", MaxBody)
		}
		return in, problem.New(problem.MalformedBody, "the body ended early").Because(err)
	}
	if len(body) == 0 {
		return empty, nil
	}
	contentType := r.Header.Get("Content-Type")
	if media, _, err := mime.ParseMediaType(contentType); err != nil || media != "application/json" {
		return in, problem.New(problem.WrongContentType, "want content-type application/json, have %q", contentType)
	}
	return in, Decode(body, &in)
}

// Decode reads exactly one JSON object with no field that the target does not
// know; its errors are problems.
func Decode(body []byte, into any) error {
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return problem.New(problem.MalformedBody, "want one JSON object")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		var wrong *json.UnmarshalTypeError
		var p *problem.Problem
		switch {
		case errors.As(err, &p):
			return p
		case errors.As(err, &wrong):
			return problem.New(problem.WrongType, "field %q: want %s, have %s", wrong.Field, kind(wrong),
				wrong.Value).In(wrong.Field)
		}
		if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			field = strings.Trim(field, `"`)
			return problem.New(problem.UnknownField, "field %q is not known here", field).In(field)
		}
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return problem.New(problem.MalformedBody, "not JSON at byte %d", syntax.Offset)
		}
		return problem.New(problem.MalformedBody, "not a JSON object").Because(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return problem.New(problem.MalformedBody, "something follows the JSON object at byte %d", d.InputOffset())
	}
	return nil
}

func kind(wrong *json.UnmarshalTypeError) string {
	switch k := wrong.Type.Kind(); k {
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Bool:
		return "a boolean"
	case reflect.String:
		return "a string"
	default:
		return "a number (" + k.String() + ")"
	}
}

// Required returns a problem if a field was not given.
func Required(field string, given bool) error {
	if given {
		return nil
	}
	return problem.New(problem.OutOfRange, "field %q is required", field).In(field)
}

// Text checks a field that a person writes: not empty, at most longest bytes.
func Text(field, value string, longest int) error {
	return cmp.Or(Required(field, value != ""), AtMost(field, value, longest))
}

// AtMost checks a field that may be empty: at most longest bytes.
func AtMost(field, value string, longest int) error {
	if len(value) <= longest {
		return nil
	}
	return problem.New(problem.OutOfRange, "field %q may have %d bytes", field, longest).In(field)
}

// OneOf checks a field that takes one of a few values.
func OneOf(field, value string, known ...string) error {
	if slices.Contains(known, value) {
		return nil
	}
	return problem.New(problem.OutOfRange, "field %q: want one of %s, have %.40q", field, strings.Join(known, ", "),
		value).In(field)
}
