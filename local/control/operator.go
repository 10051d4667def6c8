package control

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"html/template"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"

	"artemis.example/service/dashboard"
)

const (
	// OperatorHost is the name of the operator's own origin. Whatever the mission's
	// services publish has another name, so that no page of theirs shares cookies,
	// storage or scripts with it. Browsers and curl resolve it to this machine
	// (RFC 6761, 6.3).
	OperatorHost = "mission-control.localhost"

	// GatewayHost is the name under which OpenChoreo publishes the mission's routes.
	GatewayHost = "development-default.openchoreoapis.localhost"

	// pageRoute is where mission control is on every gateway, a cluster's too.
	pageRoute = "/flight-director-http"

	// What a refused request is told, for programs.
	CodeNotTheOperator = "not-the-operator"
	CodeForeignOrigin  = "foreign-origin"

	// OperatorHint says how to become the operator.
	OperatorHint = "this is for the operator: open the address that `artemis up` printed (`artemis status` prints it " +
		"again), " +
		"or use the command line"
)

// NewToken returns a secret that nobody guesses.
func NewToken() string { return rand.Text() + rand.Text() }

// Operator serves the operator's own origin: mission control's page, the control
// paths, the attacker's console and the mission's routes, all for the one who
// opened the address with the token in it, from this machine.
type Operator struct {
	Token   string
	Port    string       // of the gateway; cookies know no ports, so it is part of the cookie's name
	Control http.Handler // the paths below /_artemis/
	// Dial connects to the gateway's routes, the attacker's console included.
	Dial func(ctx context.Context) (net.Conn, error)

	once   sync.Once
	routes *httputil.ReverseProxy
}

// Address returns where the operator's page is, token included: opening it makes
// the browser the operator's.
func (o *Operator) Address() string { return o.origin() + "/?token=" + url.QueryEscape(o.Token) }

// Tell answers with the Address. It is for the control socket only.
func (o *Operator) Tell(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	answer(w, map[string]string{"address": o.Address()})
}

func (o *Operator) origin() string { return "http://" + net.JoinHostPort(OperatorHost, o.Port) }

func (o *Operator) cookie() string { return "artemis-" + o.Port }

// IsOperatorHost reports whether a Host header names the operator's own origin. It
// tells origins apart and decides nothing: the operator's asks for the token.
func IsOperatorHost(host string) bool { return hostname(host) == OperatorHost }

// ServeHTTP answers on the operator's origin, and says on the public one what is
// where. On the latter it is for requests that no route matches.
func (o *Operator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if IsOperatorHost(r.Host) {
		o.own(w, r)
		return
	}
	o.public(w, r)
}

func (o *Operator) own(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	token, offered := r.URL.Query()["token"]
	switch {
	case !fromLoopback(r):
		problem(w, http.StatusForbidden, CodeNotTheOperator, "the operator sits at this machine, and "+r.RemoteAddr+
			" does not")
	case ForeignOrigin(r.Method, r.Host, r.Header) != "":
		problem(w, http.StatusForbidden, CodeForeignOrigin, ForeignOrigin(r.Method, r.Host, r.Header))
	case r.URL.Path == "/" && offered && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		if len(token) != 1 || !o.is(token[0]) {
			o.refuse(w, r)
			return
		}
		http.SetCookie(w, &http.Cookie{
			Name: o.cookie(), Value: o.Token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode,
		})
		http.Redirect(w, r, pageRoute+"/", http.StatusSeeOther)
	case !o.knows(r):
		o.refuse(w, r)
	default:
		o.serve(w, r)
	}
}

func (o *Operator) is(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(o.Token)) == 1
}

func (o *Operator) knows(r *http.Request) bool {
	return slices.ContainsFunc(r.CookiesNamed(o.cookie()), func(c *http.Cookie) bool { return o.is(c.Value) })
}

func (o *Operator) serve(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; {
	case path == "/" || path == pageRoute:
		http.Redirect(w, r, pageRoute+"/", http.StatusSeeOther)
	case isControl(path):
		o.Control.ServeHTTP(w, r)
	case path == pageRoute+"/" || strings.HasPrefix(path, pageRoute+"/assets/"):
		o.page(w, r)
	default:
		o.data(w, r)
	}
}

// page serves mission control from this program: the operator's browser runs
// nothing that a pod sent.
func (o *Operator) page(w http.ResponseWriter, r *http.Request) {
	body, header, ok := dashboard.File(strings.TrimPrefix(r.URL.EscapedPath(), pageRoute))
	switch {
	case !ok:
		problem(w, http.StatusNotFound, "not-found", "there is no "+r.URL.Path)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", methodsRead)
		problem(w, http.StatusMethodNotAllowed, "method-not-allowed", r.Method+" is not for "+r.URL.Path)
	default:
		for name, values := range header {
			w.Header()[name] = values
		}
		_, _ = w.Write(body) // the browser went away: nobody is left to be told
	}
}

// data passes a call of the page on to the mission's services, which may have
// been taken over: what they answer is data, never a document, a script or a
// cookie of this origin, and they never see the operator's cookie.
func (o *Operator) data(w http.ResponseWriter, r *http.Request) {
	if dest := r.Header.Get("Sec-Fetch-Dest"); dest != "" && dest != "empty" {
		problem(w, http.StatusForbidden, "data-only",
			"what the mission's services publish is at http://"+net.JoinHostPort(GatewayHost, o.Port)+r.URL.Path+
				", not here")
		return
	}
	out := r.Clone(r.Context())
	for _, name := range []string{"Cookie", "Authorization", "Origin", "Referer", "Connection", "Upgrade"} {
		out.Header.Del(name)
	}
	o.ServeRoutes(&dataWriter{ResponseWriter: w}, out)
}

// ServeRoutes answers from the gateway's routes, whatever name they are asked
// under.
func (o *Operator) ServeRoutes(w http.ResponseWriter, r *http.Request) {
	o.once.Do(func() {
		o.routes = &httputil.ReverseProxy{
			Rewrite: func(p *httputil.ProxyRequest) {
				p.Out.URL.Scheme, p.Out.URL.Host = "http", net.JoinHostPort(GatewayHost, o.Port)
				p.Out.Host = p.Out.URL.Host
			},
			Transport: &http.Transport{
				DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return o.Dial(ctx) },
				DisableCompression: true,
			},
			FlushInterval: -1, // streams of events
			ErrorLog:      log.New(io.Discard, "", 0),
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
				problem(w, http.StatusBadGateway, "no-gateway", "the gateway did not answer: "+err.Error())
			},
		}
	})
	o.routes.ServeHTTP(w, r)
}

// refuse answers who has no token: a person with where to find it.
func (o *Operator) refuse(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Sec-Fetch-Dest") != "document" && !strings.Contains(r.Header.Get("Accept"), "text/html") {
		problem(w, http.StatusForbidden, CodeNotTheOperator, OperatorHint)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusForbidden)
	_ = refusalPage.Execute(w, pageRoute+"/")
}

// A browser sends no strict cookie when a page elsewhere led here; a click on this
// page's own link sends it.
var refusalPage = template.Must(template.New("refusal").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Mission control: not the operator</title>
<h1>Mission control is for its operator</h1>
<p>Open the address that <code>artemis up</code> printed; <code>artemis status</code> prints it again.</p>
<p>Been here before in this browser? <a href="{{.}}">Go on to mission control</a>.</p>
</html>
`))

// public answers on the public origin what no route matches: where the mission
// is, and that the control paths are elsewhere.
func (o *Operator) public(w http.ResponseWriter, r *http.Request) {
	switch {
	case isControl(r.URL.Path):
		problem(w, http.StatusForbidden, CodeNotTheOperator, OperatorHint)
	case r.URL.Path == "/" && isLocal(r.Host) && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		_ = wherePage.Execute(w, struct{ Operator, Gateway string }{o.origin(), "http://" +
			net.JoinHostPort(GatewayHost, o.Port)})
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

var wherePage = template.Must(template.New("where").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Artemis II: where the mission is</title>
<h1>The mission is not here, but near</h1>
<ul>
<li>mission control, for its operator: <a href="{{.Operator}}/">{{.Operator}}/</a>, with the token that <code>artemis up</code> printed (<code>artemis status</code> prints it again)
<li>mission control, to look only: <a href="{{.Gateway}}/flight-director-http/">{{.Gateway}}/flight-director-http/</a>
<li>the mission's status: <a href="{{.Gateway}}/flight-director-http/mission/status">{{.Gateway}}/flight-director-http/mission/status</a>
</ul>
</html>
`))

// ForeignOrigin returns why a request is refused that a page of another origin has
// a browser send to change something; nothing when it is none. What comes from no
// browser, as from curl, is none.
func ForeignOrigin(method, host string, header http.Header) string {
	r := &http.Request{Method: method, Host: host, Header: header, URL: &url.URL{Path: "/"}}
	if http.NewCrossOriginProtection().Check(r) == nil {
		return ""
	}
	return "a page of another origin may not send " + method
}

func isControl(path string) bool { return path == "/_artemis" || strings.HasPrefix(path, "/_artemis/") }

// fromLoopback reports whether who connects is on this machine, whatever Host it
// names.
func fromLoopback(r *http.Request) bool {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && addr.Addr().Unmap().IsLoopback()
}

func hostname(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

func isLocal(hostport string) bool {
	host := hostname(hostport)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// dataWriter lets through of an answer what makes it data.
type dataWriter struct {
	http.ResponseWriter
	wrote bool
}

// dataHeaders are the headers of an answer that reach the operator's page.
var dataHeaders = []string{
	"Allow", "Content-Encoding", "Content-Length", "Content-Type", "Date", "Retry-After", "Server", "X-Accel-Buffering",
}

// WriteHeader replaces whatever would make more of an answer than data.
func (w *dataWriter) WriteHeader(status int) {
	h := w.Header()
	for name := range h {
		if !slices.Contains(dataHeaders, name) {
			delete(h, name)
		}
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	w.wrote = w.wrote || status >= 200
	w.ResponseWriter.WriteHeader(status)
}

// Write answers 200 where nothing was said before.
func (w *dataWriter) Write(p []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// FlushError sends what there is, as streams of events need it.
func (w *dataWriter) FlushError() error {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}
