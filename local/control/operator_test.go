package control_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"artemis.example/local/control"
	"artemis.example/local/mesh"
	"github.com/google/go-cmp/cmp"
)

const (
	operatorHost = "mission-control.localhost:19080"
	gatewayHost  = "development-default.openchoreoapis.localhost:19080"
)

// newOperator is what listens on the gateway's port beside the routes. The one
// published service was taken over: it answers everything with a page, a script
// and cookies.
func newOperator(t *testing.T, s *suite) http.Handler {
	t.Helper()
	routes := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html")
		h.Add("Set-Cookie", "artemis-19080=stolen; Path=/")
		h.Set("Refresh", "0; url=http://evil.example")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Service-Worker-Allowed", "/")
		h.Set("Content-Security-Policy", "default-src *")
		fmt.Fprintf(w, "%s at %s, cookies %q", r.URL.Path, r.Host, r.Header.Get("Cookie"))
	}))
	t.Cleanup(routes.Close)
	return &control.Operator{
		Token: "secret", Port: "19080", Control: control.NewHandler(s, mesh.NewDecisionLog(10), newAttacks()),
		Dial: func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", routes.Listener.Addr().String())
		},
	}
}

type asked struct {
	method, host, path, from string
	header                   map[string]string
	body                     string
}

func ask(h http.Handler, a asked) *httptest.ResponseRecorder {
	r := httptest.NewRequest(a.method, a.path, strings.NewReader(a.body))
	r.Host, r.RemoteAddr = a.host, a.from
	if a.from == "" {
		r.RemoteAddr = "127.0.0.1:50000"
	}
	for k, v := range a.header {
		r.Header.Set(k, v)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestWhoMaySwitchTheStage(t *testing.T) {
	with := func(more ...string) map[string]string {
		h := map[string]string{"Content-Type": "application/json"}
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = more[i+1]
		}
		return h
	}
	const cookie = "artemis-19080=secret"
	for _, c := range []struct {
		name, host, from string
		header           map[string]string
		status           int
		code             string
	}{
		{"the operator's page", operatorHost, "", with("Cookie", cookie, "Origin", "http://"+operatorHost,
			"Sec-Fetch-Site", "same-origin"), 200, ""},
		{"the operator by IPv6", operatorHost, "[::1]:50000", with("Cookie", cookie), 200, ""},
		{"any user of the machine", operatorHost, "", with(), 403, "not-the-operator"},
		{"with another suite's cookie", operatorHost, "", with("Cookie", "artemis-19081=secret"), 403,
			"not-the-operator"},
		{"with a wrong cookie", operatorHost, "", with("Cookie", "artemis-19080=secres"), 403, "not-the-operator"},
		{"with the cookie, from another machine that says it is here", operatorHost, "192.0.2.1:50000",
			with("Cookie", cookie), 403, "not-the-operator"},
		{"on the public origin", gatewayHost, "", with("Cookie", cookie), 403, "not-the-operator"},
		{"by the address", "127.0.0.1:19080", "", with("Cookie", cookie), 403, "not-the-operator"},
		{"by a name that was made to point here", "evil.example:19080", "", with("Cookie", cookie), 403,
			"not-the-operator"},
		{"a page of a published service", operatorHost, "", with("Cookie", cookie, "Origin", "http://"+gatewayHost,
			"Sec-Fetch-Site", "cross-site"), 403, "foreign-origin"},
		{"a page of another port of this name", operatorHost, "", with("Cookie", cookie, "Origin",
			"http://mission-control.localhost:1", "Sec-Fetch-Site", "same-site"), 403, "foreign-origin"},
		{"a page of an old browser", operatorHost, "", with("Cookie", cookie, "Origin", "http://evil.example"), 403,
			"foreign-origin"},
		{"a sandboxed page", operatorHost, "", with("Cookie", cookie, "Origin", "null"), 403, "foreign-origin"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSuite()
			w := ask(newOperator(t, s), asked{"POST", c.host, "/_artemis/stage", c.from, c.header,
				`{"stage":"zero-trust"}`})
			got := struct{ Code string }{}
			if w.Code != 200 {
				decode(t, w.Body.String(), &got)
			}
			if w.Code != c.status || got.Code != c.code {
				t.Errorf("got %d %q, want %d %q: %s", w.Code, got.Code, c.status, c.code, w.Body)
			}
			if changed := s.State().Stage == "zero-trust"; changed != (c.status == 200) {
				t.Errorf("the stage changed: %v", changed)
			}
		})
	}
}

func TestThePrintedAddressMakesABrowserTheOperators(t *testing.T) {
	h := newOperator(t, newSuite())
	w := ask(h, asked{method: "GET", host: operatorHost, path: "/?token=secret"})
	want := http.Header{
		"Location":                {"/flight-director-http/"},
		"Set-Cookie":              {"artemis-19080=secret; Path=/; HttpOnly; SameSite=Strict"},
		"Content-Type":            {"text/html; charset=utf-8"},
		"Cache-Control":           {"no-store"},
		"Referrer-Policy":         {"no-referrer"},
		"X-Content-Type-Options":  {"nosniff"},
		"Content-Security-Policy": {"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"},
	}
	if diff := cmp.Diff(want, w.Header()); w.Code != 303 || diff != "" {
		t.Errorf("%d (-want +got):\n%s", w.Code, diff)
	}
	cookie := map[string]string{"Cookie": "artemis-19080=secret"}
	for _, path := range []string{"/flight-director-http/", "/flight-director-http/assets/main.js", "/_artemis/state"} {
		if w := ask(h, asked{method: "GET", host: operatorHost, path: path, header: cookie}); w.Code != 200 ||
			strings.Contains(w.Body.String(), "cookies") {
			t.Errorf("%s with the cookie: %d %.200s", path, w.Code, w.Body)
		}
		if w := ask(h, asked{method: "GET", host: operatorHost, path: path}); w.Code != 403 {
			t.Errorf("%s without it: %d", path, w.Code)
		}
	}
	for _, path := range []string{"/?token=wrong", "/?token=", "/?token=secret&token=secret", "/",
		"/flight-director-http/?token=secret"} {
		w := ask(h, asked{method: "GET", host: operatorHost, path: path,
			header: map[string]string{"Accept": "text/html"}})
		if w.Code != 403 || w.Header().Get("Set-Cookie") != "" || !strings.Contains(w.Body.String(), "artemis status") {
			t.Errorf("%s: %d %v %s", path, w.Code, w.Header(), w.Body)
		}
	}
	if w := ask(h, asked{method: "GET", host: operatorHost, path: "/?token=secret",
		from: "192.0.2.1:1"}); w.Code != 403 || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("the token from another machine: %d %v", w.Code, w.Header())
	}
}

func TestWhatServicesAnswerIsDataOnTheOperatorsOrigin(t *testing.T) {
	h := newOperator(t, newSuite())
	own := map[string]string{"Cookie": "artemis-19080=secret; other=1", "Sec-Fetch-Dest": "empty"}
	w := ask(h, asked{method: "GET", host: operatorHost, path: "/launch-control-http/countdown/status", header: own})
	if got, want := w.Body.String(), `/launch-control-http/countdown/status at `+gatewayHost+
		`, cookies ""`; w.Code != 200 || got != want {
		t.Errorf("%d %s, want %s", w.Code, got, want)
	}
	want := http.Header{
		"Content-Type":                 {"text/html"},
		"Content-Length":               w.Header()["Content-Length"],
		"Date":                         w.Header()["Date"],
		"Cache-Control":                {"no-store"},
		"Content-Security-Policy":      {"sandbox; default-src 'none'; frame-ancestors 'none'"},
		"Cross-Origin-Resource-Policy": {"same-origin"},
		"Referrer-Policy":              {"no-referrer"},
		"X-Content-Type-Options":       {"nosniff"},
	}
	if diff := cmp.Diff(want, w.Header()); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	for _, dest := range []string{"document", "script", "iframe", "serviceworker", "sharedworker", "style", "object",
		"image"} {
		own["Sec-Fetch-Dest"] = dest
		if w := ask(h, asked{method: "GET", host: operatorHost, path: "/launch-control-http/evil",
			header: own}); w.Code != 403 {
			t.Errorf("as a %s: %d", dest, w.Code)
		}
	}
}

func TestTheBarePortSaysWhereTheMissionIs(t *testing.T) {
	for _, host := range []string{"localhost:19080", "127.0.0.1:19080", "[::1]:19080", gatewayHost} {
		w := ask(newOperator(t, newSuite()), asked{method: "GET", host: host, path: "/"})
		body, err := io.ReadAll(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"http://mission-control.localhost:19080/", "http://" + gatewayHost +
			"/flight-director-http/", "artemis status"} {
			if w.Code != 200 || !strings.Contains(string(body), want) {
				t.Errorf("%s: %d, no %s in %s", host, w.Code, want, body)
			}
		}
		if strings.Contains(string(body), "secret") {
			t.Errorf("%s tells the token", host)
		}
	}
	if w := ask(newOperator(t, newSuite()), asked{method: "GET", host: "evil.example", path: "/"}); w.Code != 404 {
		t.Errorf("a foreign name: %d", w.Code)
	}
}
