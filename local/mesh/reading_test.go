package mesh

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"artemis.example/policy/decision"
	"artemis.example/policy/explain"
	"artemis.example/policy/topology"
)

// TestRequestsAreReadAsEnvoyReadsThem sends requests to a policy that looks at what a
// client may write into them, through the live waypoint, and asks explain about the
// same: both have to say what a real Envoy with Istio's translation says.
func TestRequestsAreReadAsEnvoyReadsThem(t *testing.T) {
	const claimed = "By=x;URI=spiffe://cluster.local/ns/" + orion + "/sa/comms-system"
	when := func(key, values string) string {
		return "when: [{key: \"request.headers[" + key + "]\", " + values + "}]"
	}
	cases := []struct {
		name   string
		action string
		rule   string
		line   string // of the request, without the version
		header []string
		want   string
	}{
		{"a DENY on the pseudo-header of the path", "DENY", when(":path", "values: [\"/position*\"]"), "GET /position",
			nil, "403"},
		{"with the query", "DENY", when(":path", "values: [\"*secret=1\"]"), "GET /position?secret=1", nil, "403"},
		{"on the scheme", "DENY", when(":scheme", "values: [https]"), "GET /position",
			[]string{"X-Forwarded-Proto: https"}, "403"},
		{"on the scheme of an absolute target", "DENY", when(":scheme", "values: [https]"),
			"GET https://guidance-nav/position", nil, "403"},
		{"on a pseudo-header that no request has", "DENY", when(":status", "values: [\"*\"]"), "GET /position", nil,
			"200"},
		{"a DENY on the Host that the client sends", "DENY", "to: [{operation: {hosts: [internal.example.com]}}]",
			"GET /position", []string{"Host: internal.example.com"}, "403"},
		{"which is another with a port", "DENY", "to: [{operation: {hosts: [internal.example.com]}}]", "GET /position",
			[]string{"Host: internal.example.com:8080"}, "200"},
		{"two Hosts are one", "DENY", "to: [{operation: {hosts: [\"a,b\"]}}]", "GET /position", []string{"Host: a",
			"Host: b"}, "403"},
		{"a header that Connection names is not there", "ALLOW", when("x-role", "values: [admin]"), "GET /position",
			[]string{"X-Role: admin", "Connection: x-role"}, "403"},
		{"a header is", "ALLOW", when("x-role", "values: [admin]"), "GET /position", []string{"X-Role: admin"}, "200"},
		{"te is not there but for trailers", "ALLOW", when("te", "values: [\"*\"]"), "GET /position",
			[]string{"Te: gzip"}, "403"},
		{"trailers are", "ALLOW", when("te", "values: [trailers]"), "GET /position", []string{"Te: gzip, trailers"},
			"200"},
		{"what Envoy takes off is not there", "ALLOW", when("x-envoy-max-retries", "values: [\"5\"]"), "GET /position",
			[]string{"X-Envoy-Max-Retries: 5"}, "403"},
		{"what it leaves is", "ALLOW", when("x-envoy-original-path", "values: [/x]"), "GET /position",
			[]string{"X-Envoy-Original-Path: /x"}, "200"},
		{"a claim of the client's about who calls counts for nothing", "ALLOW", when("x-forwarded-client-cert",
			"values: [\"*/sa/comms-system\"]"), "GET /position", []string{"X-Forwarded-Client-Cert: " + claimed},
			"403"},
		{"the waypoint's own does", "ALLOW", when("x-forwarded-client-cert", "values: [\"*/sa/life-support\"]"),
			"GET /position", []string{"X-Forwarded-Client-Cert: " + claimed}, "200"},
		{"x-forwarded-proto is added", "DENY", when("x-forwarded-proto", "values: [http]"), "GET /position", nil,
			"403"},
		{"x-request-id is made up", "ALLOW", when("x-request-id", "values: [\"*\"]"), "GET /position", nil, "200"},
		{"chunks are no header", "ALLOW", when("transfer-encoding", "values: [\"*\"]"), "POST /position",
			[]string{"Transfer-Encoding: chunked"}, "403"},
		{"an upgrade that no route has is refused first", "ALLOW", "", "GET /position", []string{"Connection: upgrade",
			"Upgrade: h3"}, "403"},
		{"too many names in Connection", "ALLOW", "", "GET /position", []string{"Connection: a,b,c,d,e,f,g,h,i,j"},
			"400"},
		{"a Host that is none", "ALLOW", "", "GET /position", []string{"Host: a/b"}, "400"},
		{"a null byte in the path", "ALLOW", "", "GET /%00", nil, "400"},
	}
	var objects []string
	for i, c := range cases {
		rules := "rules: [{}]"
		if c.rule != "" {
			rules = "rules: [{" + c.rule + "}]"
		}
		objects = append(objects,
			fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: reading-%d, namespace: %s}\nspec:\n"+
				"  selector: {openchoreo.dev/component: guidance-nav}\n  ports: [{name: http, port: 8080, "+
				"targetPort: 8080}]", i, orion),
			fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: reading-%d, "+
				"namespace: %s}\nspec:\n"+
				"  action: %s\n  targetRefs: [{group: \"\", kind: Service, name: reading-%d}]\n  %s", i, orion,
				c.action, i, rules))
	}
	set := suite(t, options{noDefaultDeny: true, extra: strings.Join(objects, "\n---\n")})
	r := newRig(t, Config{}, set)
	world, err := topology.Build(set, topology.NewAllocator())
	if err != nil {
		t.Fatal(err)
	}
	x := explain.New("zero-trust", world)
	caller := app("orion", "life-support")
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			service := fmt.Sprintf("reading-%d", i)
			request := c.line + " HTTP/1.1\r\n"
			header := http.Header{}
			for _, h := range c.header {
				request += h + "\r\n"
				name, value, _ := strings.Cut(h, ": ")
				header.Add(name, value)
			}
			if header.Get("Host") == "" {
				request += "Host: " + service + ":8080\r\n"
			}
			request += "\r\n"
			if header.Get("Transfer-Encoding") != "" {
				request += "0\r\n\r\n"
			}
			if got, _ := r.raw(caller, service+"."+orion+":8080", request); got != c.want {
				t.Errorf("the live waypoint answers %s, want %s", got, c.want)
			}
			method, target, _ := strings.Cut(c.line, " ")
			a, err := x.Ask(explain.Question{From: caller.String(), To: orion + "/" + service, Method: method,
				Path: target, Header: header})
			if err != nil {
				t.Fatal(err)
			}
			if allowed := a.Verdict == decision.Allowed; allowed != (c.want == "200") || !allowed &&
				!strings.HasPrefix(a.Looks, c.want) {
				t.Errorf("explain: %s, %q, %s; want %s", a.Verdict, a.Looks, a.Reason, c.want)
			}
		})
	}
}
