package control_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"artemis.example/local/control"
	"artemis.example/local/mesh"
)

// FuzzHandler asks for anything under the gateway's guard: nothing but a POST in
// JSON, of the page's own origin, changes the stage.
func FuzzHandler(f *testing.F) {
	f.Add("POST", "/_artemis/stage", "127.0.0.1", "application/json", "", `{"stage":"open"}`)
	f.Add("POST", "/_artemis/stage", "localhost:19080", "text/plain", "http://evil.example", `{"stage":"zero-trust"}`)
	f.Add("GET", "/_artemis/decisions?since=-1&limit=99999999999999999999", "[::1]", "", "", "")
	f.Add("GET", "/_artemis/state", "evil.example", "", "", "")
	f.Fuzz(func(t *testing.T, method, target, host, kind, origin, body string) {
		r, err := http.NewRequest(method, "http://x", strings.NewReader(body))
		if err != nil || strings.HasPrefix(target, "/_artemis/events") {
			t.Skip("no request of a server's")
		}
		u, err := r.URL.Parse(target)
		if err != nil {
			t.Skip("no URL")
		}
		r.URL, r.Host = u, host
		r.Header.Set("Content-Type", kind)
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		s := newSuite()
		s.state.Stage = "zero-trust"
		w := httptest.NewRecorder()
		done := make(chan struct{})
		go func() {
			defer close(done)
			control.Guard(control.NewHandler(s, mesh.NewDecisionLog(10), newAttacks())).ServeHTTP(w, r)
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("hangs")
		}
		if w.Code == http.StatusInternalServerError {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		own := origin == "" || strings.EqualFold(origin, "http://"+host)
		if s.State().Stage != "zero-trust" && (method != http.MethodPost || !strings.Contains(strings.ToLower(kind), "application/json") || !own) {
			t.Errorf("%s %s for %q, %q from %q changed the stage", method, target, host, kind, origin)
		}
	})
}
