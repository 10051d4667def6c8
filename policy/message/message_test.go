package message_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"artemis.example/policy/authz"
	"artemis.example/policy/message"
	"github.com/google/go-cmp/cmp"
)

const (
	caller   = "spiffe://cluster.local/ns/cell-b/sa/web"
	waypoint = "spiffe://cluster.local/ns/cell-a/sa/waypoint"
)

// view is what policies see of a request, or what is answered before they do.
type view struct {
	Status int
	Body   string
	Method, Scheme,
	Host, Path string
	Header http.Header
}

// see reads a request's head as a waypoint does that vouches for its callers.
func see(t *testing.T, w message.Waypoint, raw string) view {
	t.Helper()
	var h message.Head
	err := h.ParseRequest(raw)
	refused := message.Refuse(err)
	q := authz.Request{Principal: caller, SourceIP: netip.MustParseAddr("10.244.1.5"), Header: http.Header{},
		HTTP: true}
	if err == nil {
		_, refused = w.See(&h, &q)
	} else if refused == nil {
		t.Fatalf("no answer to %v", err)
	}
	if refused != nil {
		return view{Status: refused.Status, Body: refused.Body}
	}
	if id := q.Header["X-Request-Id"]; len(id) == 1 && len(id[0]) == 36 && id[0][14] == '4' {
		delete(q.Header, "X-Request-Id") // made up
	}
	return view{Method: q.Method, Scheme: q.Scheme, Host: q.Host, Path: q.Path, Header: q.Header}
}

var vouching = message.Waypoint{Identity: waypoint, ClientIdentity: true}

// Every row was seen at an Envoy 1.40.0 that a waypoint's listener, as istiod writes it,
// was loaded into.
func TestWhatPoliciesSeeOfTheHeader(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines string
		want  string // lines beside x-forwarded-proto: http and the waypoint's own
	}{
		{"nothing more than what is sent and two that are added", "", ""},
		{"a header as it is sent", "X-Role: admin", "X-Role: admin"},
		{"lines of one name stay apart", "x-role: a|X-Role: b", "X-Role: a|X-Role: b"},
		{"lines of a name that Envoy keeps once are joined", "user-agent: v1|User-Agent: v2|user-agent:|USER-agent: v3",
			"User-Agent: v1,v2,v3"},
		{"empty lines of such a name are one", "accept:|accept:", "Accept: "},
		{"lines of a name that no filter registers are not joined", "cookie: a=1|cookie: b=2",
			"Cookie: a=1|Cookie: b=2"},
		{"spaces around a value go", "x-a: \t a b \t", "X-A: a b"},
		{"an empty value stays", "x-a:", "X-A: "},
		{"bytes beyond ASCII stay", "x-a: \xe9", "X-A: \xe9"},
		{"who calls is what the waypoint says", "X-Forwarded-Client-Cert: " +
			"By=x;URI=spiffe://cluster.local/ns/n/sa/forged", ""},
		{"a header that Connection names goes", "x-role: admin|x-other: 1|Connection: x-role", "X-Other: 1"},
		{"whatever its case, each line, among others",
			"x-role: a|X-ROLE: b|x-c: 1|connection: close|connection: keep-alive , X-Role,|connection: x-c", ""},
		{"an option in quotes names nothing", "x-role: admin|connection: \"x-role\"", "X-Role: admin"},
		{"what concerns the connection goes",
			"connection: keep-alive|keep-alive: 5|proxy-connection: x|upgrade: websocket", ""},
		{"http2-settings is not taken off by its name", "connection: http2-settings|http2-settings: x",
			"Http2-Settings: x"},
		{"an upgrade to h2c is none", "connection: Upgrade, HTTP2-Settings|upgrade: h2c|http2-settings: x|x-a: 1",
			"X-A: 1"},
		{"an upgrade stays, and all that Connection names", "connection: upgrade, x-role|upgrade: WebSocket|x-role: " +
			"1|keep-alive: 5", "Connection: upgrade, x-role|Upgrade: WebSocket|X-Role: 1"},
		{"te other than trailers goes", "te: gzip", ""},
		{"of te trailers stay", "te: gzip , trailers", "Te: trailers"},
		{"trailers with a weight go", "te: trailers;q=1", ""},
		{"trailers in capitals go", "te: Trailers", ""},
		{"te that Connection names keeps trailers", "te: Trailers|connection: te", "Te: trailers"},
		{"an empty te stays", "te:", "Te: "},
		{"te in two lines is one", "te: a|te: trailers", "Te: trailers"},
		{"te of an upgrade stays as it is", "te: gzip|connection: upgrade|upgrade: websocket",
			"Te: gzip|Connection: upgrade|Upgrade: websocket"},
		{"chunks are no header", "transfer-encoding: chunked", ""},
		{"a length is one", "content-length: 0", "Content-Length: 0"},
		{"Expect stays: the pod answers it", "expect: 100-Continue", "Expect: 100-Continue"},
		{"x-forwarded-proto stays as it is sent", "x-forwarded-proto: gopher", "X-Forwarded-Proto: gopher"},
		{"an empty x-forwarded-proto stays", "x-forwarded-proto:", "X-Forwarded-Proto: "},
		{"x-request-id stays as it is sent", "x-request-id: 7", "X-Request-Id: 7"},
		{"a referer that is a URL stays", "referer: https://app.example:8080/a?b",
			"Referer: https://app.example:8080/a?b"},
		{"a referer that is a path stays", "referer: /x", "Referer: /x"},
		{"a referer is a URL only behind a scheme", "referer: a/b:c,https://h:99999/",
			"Referer: a/b:c,https://h:99999/"},
		{"a relative referer has no brackets", "referer: /x,https://[::1]/x", ""},
		{"a referer with a name goes", "referer: http://u@h/x", ""},
		{"a referer with a fragment goes", "referer: https://h/#f", ""},
		{"a referer that is no URL goes", "referer: about:blank", ""},
		{"a referer with a bad port goes", "referer: https://h:99999/", ""},
		{"Envoy's own orders to itself go", "x-envoy-max-retries: 5|x-envoy-retry-on: 5xx|x-envoy-internal: " +
			"true|x-envoy-force-trace: 1|X-Envoy-Upstream-Rq-Timeout-Ms: 1|" +
			"x-envoy-upstream-rq-per-try-timeout-ms: 1|x-envoy-upstream-alt-stat-name: " +
			"a|x-envoy-upstream-rq-timeout-alt-response: 1|x-envoy-expected-rq-timeout-ms: 1|x-envoy-ip-tags: a|" +
			"x-envoy-original-url: /|x-envoy-retriable-header-names: a|x-envoy-retriable-status-codes: " +
			"1|x-envoy-retry-grpc-on: a|x-envoy-hedge-on-per-try-timeout: 1|x-envoy-upstream-stream-duration-ms: 1",
			""},
		{"the name of an operation for traces goes", "x-envoy-decorator-operation: a", ""},
		{"what only a proxy at the edge takes off stays", "x-envoy-external-address: 1.2.3.4|x-envoy-original-path: " +
			"/|x-envoy-downstream-service-cluster: a|x-envoy-attempt-count: 9|x-envoy-peer-metadata: " +
			"a|x-forwarded-for: 10.0.0.1",
			"X-Envoy-External-Address: 1.2.3.4|X-Envoy-Original-Path: /|X-Envoy-Downstream-Service-Cluster: " +
				"a|X-Envoy-Attempt-Count: 9|X-Envoy-Peer-Metadata: a|X-Forwarded-For: 10.0.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := view{Method: "GET", Scheme: "http", Host: "h", Path: "/x", Header: http.Header{
				"X-Forwarded-Proto": {"http"}, "X-Forwarded-Client-Cert": {"By=" + waypoint + ";URI=" + caller}}}
			if strings.Contains(c.want, "X-Forwarded-Proto") {
				delete(want.Header, "X-Forwarded-Proto")
			}
			for line := range strings.SplitSeq(c.want, "|") {
				if name, value, ok := strings.Cut(line, ": "); ok {
					want.Header[name] = append(want.Header[name], value)
				}
			}
			raw := "GET /x HTTP/1.1\r\nHost: h\r\n"
			if c.lines != "" {
				raw += strings.ReplaceAll(c.lines, "|", "\r\n") + "\r\n"
			}
			if diff := cmp.Diff(want, see(t, vouching, raw)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWithoutTheAnnotationNobodyIsNamed(t *testing.T) {
	got := see(t, message.Waypoint{Identity: waypoint},
		"GET /x HTTP/1.1\r\nHost: h\r\nx-forwarded-client-cert: forged\r\n")
	if v, ok := got.Header["X-Forwarded-Client-Cert"]; ok {
		t.Errorf("policies see %q", v)
	}
}

func TestWhatPoliciesSeeOfTheRequestLineAndTheHost(t *testing.T) {
	seen := func(scheme, host, path string) view {
		return view{Method: "GET", Scheme: scheme, Host: host, Path: path}
	}
	bad, silent, lost := view{Status: 400, Body: "Bad Request"}, view{Status: 400}, view{Status: 404}
	for _, c := range []struct {
		raw  string
		want view
	}{
		{"GET /x?y=/../z HTTP/1.1|Host: h:8080", seen("http", "h:8080", "/x?y=/../z")},
		{"GET /a/..;b/%70#frag HTTP/1.1|Host: h", seen("http", "h", "/p")},
		{"GET /x HTTP/1.1|Host: h|X-Forwarded-Proto: HTTPS", seen("https", "h", "/x")},
		{"GET /x HTTP/1.1|Host: h|X-Forwarded-Proto: http|X-Forwarded-Proto: https", seen("http", "h", "/x")},
		{"GET HTTPS://Other.example:443 HTTP/1.1|Host: h", seen("https", "Other.example:443", "/")},
		{"GET http://u:p@other/x HTTP/1.1|Host: h|X-Forwarded-Proto: https", seen("http", "other", "/x")},
		{"GET http://[::1]:80/x HTTP/1.1|Host: h", seen("http", "[::1]:80", "/x")},
		{"GET http://other/x HTTP/1.1|X-A: 1", seen("http", "other", "/x")},
		{"GET http://other/x HTTP/1.1|Host: h|Connection: host", seen("http", "other", "/x")},
		{"GET /x HTTP/1.1|Host:", seen("http", "", "/x")},
		{"GET /x HTTP/1.1|Host: h|Host: v", seen("http", "h,v", "/x")},
		{"GET /x HTTP/1.1|Host: a@b", seen("http", "a@b", "/x")},
		{"GET  /x \t HTTP/1.1 |Host: h", seen("http", "h", "/x")},
		{"CONNECT h:80 HTTP/1.1|Host: x", view{Method: "CONNECT", Scheme: "http", Host: "h:80"}},
		{"CONNECT h HTTP/1.1|Host: x", bad},
		{"CONNECT /x HTTP/1.1|Host: x", bad},
		{"GET /x HTTP/1.1|Host: a b", bad},
		{"GET /x HTTP/1.1|Host: a/b", bad},
		{"GET /x HTTP/1.1|Host: \xe9", bad},
		{"GET /x HTTP/1.1|X-A: 1", silent},
		{"GET /x HTTP/1.1|Host: h|Connection: host", silent},
		{"GET /x HTTP/1.1|Host: h|Connection: host, upgrade|Upgrade: h2c", silent},
		{"GET /x HTTP/1.1|Host: h|Connection: host, upgrade|Upgrade: websocket", seen("http", "h", "/x")},
		{"GET /x HTTP/1.1|Host: h|Connection: :path", bad},
		{"GET /x HTTP/1.1|Host: h|Connection: x-forwarded-for", bad},
		{"GET /x HTTP/1.1|Host: h|Connection: X-Forwarded-Host", bad},
		{"GET /x HTTP/1.1|Host: h|Connection: x-forwarded-proto", bad},
		{"GET /x HTTP/1.1|Host: h|Connection: a,b,c,d,e,f,g,h,i,close", bad},
		{"GET /x HTTP/1.1|Host: h|Connection: a,b,c,d,e,f,g,h,i,upgrade|Upgrade: h2c", seen("http", "h", "/x")},
		{"GET /x HTTP/1.1|Host: h|Connection: te|TE: " + strings.Repeat("a", 256), bad},
		{"GET /x HTTP/1.1|Host: h|Connection: upgrade|Upgrade: foo", view{Status: 403}},
		{"GET /x HTTP/1.1|Host: h|Connection: upgrade|Upgrade:", view{Status: 403}},
		{"GET /x HTTP/1.1|Host: h|Connection: upgrade|Upgrade: websocket|Upgrade: foo", view{Status: 403}},
		{"GET /%00 HTTP/1.1|Host: h", silent},
		{"GET /\x80 HTTP/1.1|Host: h", bad},
		{"GET x HTTP/1.1|Host: h", bad},
		{"GET * HTTP/1.1|Host: h", bad},
		{"OPTIONS * HTTP/1.1|Host: h", lost},
		{"OPTIONS */x HTTP/1.1|Host: h", lost},
		{"OPTIONS * HTTP/1.1|X-A: 1", silent},
		{"GET http://h?x HTTP/1.1|X-A: 1", lost},
		{"GET http://h?x HTTP/1.1|Host: h", lost},
		{"GET http://h#x HTTP/1.1|Host: h", bad},
		{"GET http://: HTTP/1.1|Host: h", bad},
		{"GET http://:80/x HTTP/1.1|Host: h", bad},
		{"GET http://h:/x HTTP/1.1|Host: h", bad},
		{"GET http://a_b/x HTTP/1.1|Host: h", bad},
		{"GET ftp://h/x HTTP/1.1|Host: h", bad},
		{"get /x HTTP/1.1|Host: h", bad},
		{"M-SEARCH /x HTTP/1.1|Host: h", bad},
		{"GET /x HTTP/1.0|Host: h", view{Status: 426, Body: "Upgrade Required"}},
		{"GET /x HTTP/2.0|Host: h", view{Status: 426, Body: "Upgrade Required"}},
		{"GET /x http/1.1|Host: h", bad},
		{"GET /x HTTP/1.0|Host: h|Connection: x-forwarded-for", bad},
		{"GET x HTTP/1.0|Host: h", bad},
		{"GET x HTTP/1.1|X-A: 1", bad},
		{"GET /\xa9 HTTP/1.1|X-A: 1", bad},
		{"GET /x HTTP/1.0|X-A: 1", view{Status: 426, Body: "Upgrade Required"}},
		{"GET /x HTTP/1.1|Host: h|X A: 1", bad},
		{"GET /x HTTP/1.1|Host: h|:path: /y", bad},
		{"GET /x HTTP/1.1|Host: h" + strings.Repeat("|X-A: 1", 100),
			view{Status: 431, Body: "Request Header Fields Too Large"}},
	} {
		t.Run(c.raw[:min(len(c.raw), 60)], func(t *testing.T) {
			got := see(t, vouching, strings.ReplaceAll(c.raw, "|", "\r\n")+"\r\n")
			got.Header = nil
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	joined := see(t, vouching, "GET /x HTTP/1.1\r\nHost: h\r\n"+strings.Repeat("Accept: a\r\n", 150))
	if joined.Status != 0 {
		t.Errorf("lines that are joined count as one: %+v", joined)
	}
}

func TestAskedRequestsAreReadAsSentOnes(t *testing.T) {
	h, refused := message.Ask("GET", "/x", "svc.ns.svc.cluster.local:8080", http.Header{"X-A": {"1"}})
	if refused != nil || h.Host != "svc.ns.svc.cluster.local:8080" || h.Get("x-a") != "1" {
		t.Errorf("%+v, %v", h, refused)
	}
	h, refused = message.Ask("GET", "/x", "ignored", http.Header{"Host": {"internal.example.com"}})
	if refused != nil || h.Host != "internal.example.com" {
		t.Errorf("%+v, %v", h, refused)
	}
	for _, c := range []struct{ method, target, value string }{
		{"get", "/x", "1"}, {"GET", "/x y", "1"}, {"GET", "/x\r\nX-Role: admin", "1"},
		{"GET", "/x", "1\r\nX-Role: admin"},
	} {
		if h, refused := message.Ask(c.method, c.target, "h", http.Header{"X-A": {c.value}}); refused == nil ||
			refused.Status != 400 {
			t.Errorf("%q: %+v, %v", c, h, refused)
		}
	}
}
