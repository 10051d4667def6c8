package control_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"artemis.example/local/control"
	"artemis.example/local/mesh"
)

// FuzzOperator asks for anything at the gateway's port, from this machine: nothing
// but a POST in JSON, of the operator's own page with the operator's cookie,
// changes the stage.
func FuzzOperator(f *testing.F) {
	const own, cookie = "mission-control.localhost:1", "artemis-1=secret"
	f.Add("POST", "/_artemis/stage", own, "application/json", "", cookie, `{"stage":"open"}`)
	f.Add("POST", "/_artemis/stage", own, "application/json", "http://evil.example", cookie, `{"stage":"open"}`)
	f.Add("POST", "/_artemis/stage", "localhost:1", "application/json", "", cookie, `{"stage":"open"}`)
	f.Add("POST", "/?token=secret", own, "application/json", "", "", `{"stage":"open"}`)
	f.Add("POST", "/_artemis/stage?token=secret", own, "application/json", "", "artemis-1=", `{"stage":"open"}`)
	f.Add("GET", "/_artemis/decisions?since=-1&limit=99999999999999999999", own, "", "", cookie, "")
	f.Add("GET", "/flight-director-http/assets/../../../etc/passwd", own, "", "", cookie, "")
	f.Fuzz(func(t *testing.T, method, target, host, kind, origin, cookies, body string) {
		r, err := http.NewRequest(method, "http://x", strings.NewReader(body))
		if err != nil || strings.HasPrefix(target, "/_artemis/events") {
			t.Skip("no request of a server's")
		}
		u, err := r.URL.Parse(target)
		if err != nil {
			t.Skip("no URL")
		}
		r.URL, r.Host, r.RemoteAddr = u, host, "127.0.0.1:2"
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Cookie", cookies)
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		s := newSuite()
		s.state.Stage = "zero-trust"
		o := &control.Operator{
			Token: "secret", Port: "1", Control: control.NewHandler(s, mesh.NewDecisionLog(10), newAttacks()),
			Dial: nowhere,
		}
		w := httptest.NewRecorder()
		done := make(chan struct{})
		go func() {
			defer close(done)
			o.ServeHTTP(w, r)
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("hangs")
		}
		if w.Code == http.StatusInternalServerError {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		fromOwn := origin == "" || strings.EqualFold(origin, "http://"+host)
		known := slices.ContainsFunc(r.CookiesNamed("artemis-1"),
			func(c *http.Cookie) bool { return c.Value == "secret" })
		if s.State().Stage != "zero-trust" && (method != http.MethodPost || !strings.Contains(strings.ToLower(kind),
			"application/json") || !fromOwn || !known) {
			t.Errorf("%s %s for %q, %q from %q with %q changed the stage", method, target, host, kind, origin, cookies)
		}
	})
}

func nowhere(context.Context) (net.Conn, error) { return nil, net.ErrClosed }
