package xds

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"artemis.example/local/identity"
)

// FuzzDiscovery asks for everything with arbitrary bodies: no request makes the
// server wait beyond its client, and none gives a key to whoever did not ask for
// the secret by its name.
func FuzzDiscovery(f *testing.F) {
	for _, kind := range []string{listeners, clusters, secrets, "routes"} {
		f.Add(kind, []byte(`{"version_info":"1","resource_names":["default"],"node":{"id":"waypoint"}}`))
		f.Add(kind, []byte(`{"version_info":7}`))
		f.Add(kind, []byte(`[`))
	}
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		s := NewServer(func() (identity.PEM, error) {
			return identity.PEM{Certificate: []byte("certificate"), Key: []byte("the key"), Roots: []byte("roots")}, nil
		})
		s.Set(one)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", bytes.NewReader(body))
		r.URL.Path = "/v3/discovery:" + kind
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		asked := kind == secrets && bytes.Contains(bytes.ToLower(body), []byte("resource_names"))
		if bytes.Contains(w.Body.Bytes(), []byte("dGhlIGtleQ==")) && !asked { // "the key" in base64
			t.Errorf("%s %q got the key", kind, body)
		}
	})
}

// FuzzParseAccess checks that a line of an Envoy's log, parts of which its callers
// choose, never makes of a refusal anything else.
func FuzzParseAccess(f *testing.F) {
	line := `{"artemis":"access","at":"1795000000.123456","xfcc":"By=spiffe://a/ns/b/sa/waypoint;URI=spiffe://a/ns/b/sa/c","caller":"10.0.0.1:1",` +
		`"to":"10.0.0.2:8080","method":"GET","path":"PATH","traceparent":"-","status":403,"details":"rbac_access_denied_matched_policy[none]",` +
		`"termination":null,"flags":"-","ms":0}`
	f.Add([]byte(line))
	f.Add([]byte(`{"artemis":"access","at":1e300,"ms":"-1","status":"1e9"}`))
	f.Add([]byte("[2026-11-23 10:00:00.000][1][warning] a line of the log"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, _ = ParseAccess(b)
		quoted := bytes.ReplaceAll([]byte(line), []byte(`"PATH"`), quote(b))
		a, ok, err := ParseAccess(quoted)
		if !ok || err != nil || !a.Denied || a.Status != http.StatusForbidden || a.Caller != "spiffe://a/ns/b/sa/c" {
			t.Fatalf("%s: %+v, %v, %v", quoted, a, ok, err)
		}
	})
}

// quote returns a JSON string as Envoy writes one.
func quote(b []byte) []byte {
	q, _ := json.Marshal(string(b)) // strings always can
	return q
}
