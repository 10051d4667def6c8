package authz

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"artemis.example/catalog"
	"artemis.example/conformance/enforcer"
	"artemis.example/conformance/envoy"
	"artemis.example/conformance/figures"
	"artemis.example/conformance/translate"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
)

// caller is an identity of the matrix, and who of the table it is, if anyone.
type caller struct {
	identity string
	table    catalog.Caller
	known    bool
}

// callers are all identities of the suite's world, and strangers.
func callers(w *topology.World) []caller {
	var out []caller
	for _, p := range w.Pods {
		c := caller{identity: p.Identity}
		switch {
		case p.Kind == topology.Ingress:
			c.table, c.known = catalog.Ingress, true
		case p.Kind == topology.App && p.Cell != "" && p.Component != "":
			c.table, c.known = catalog.Caller{Cell: p.Cell, Component: p.Component}, true
		}
		if !slices.ContainsFunc(out, func(o caller) bool { return o.identity == c.identity }) {
			out = append(out, c)
		}
	}
	capcom := ""
	for _, c := range out {
		if c.table.Component == "capcom" {
			capcom = c.identity
		}
	}
	for _, id := range []string{
		capcom + "2", strings.Replace(capcom, "cluster.local", "cluster.example", 1), strings.Replace(capcom, "/ns/dp-",
			"/ns/xdp-", 1),
		strings.Replace(capcom, "houston", "Houston", 1), "spiffe://cluster.local/ns/default/sa/default", "",
	} {
		out = append(out, caller{identity: id})
	}
	return out
}

// nearMisses are the endpoint itself and requests that are nearly it.
func nearMisses(method, path, host string) []enforcer.Request {
	escaped := func(i int) string { return fmt.Sprintf("%s%%%02X%s", path[:i], path[i], path[i+1:]) }
	exact := strings.TrimSuffix(path, "*")
	path = exact
	if exact != strings.TrimSuffix(exact, "/") && exact != "/" {
		path = exact + "sub/page"
	}
	last := strings.LastIndexByte(path, '/')
	out := []enforcer.Request{{Method: method, Target: path, Host: host}}
	for _, m := range []string{"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", strings.ToLower(method)} {
		if m != method {
			out = append(out, enforcer.Request{Method: m, Target: path, Host: host})
		}
	}
	for _, target := range []string{
		path + "?deltaV=1", path + "?a=/../..", path + "#here", path + "/", path + "//", "/" + path, path + "/x",
		path + ";a=b", path + "%00", path + "%2f", path + "%20",
		strings.ToUpper(path), path[:last+1] + "." + path[last:], path[:last+1] + "x/.." + path[last:], path[:last] +
			"/x\\.." + path[last:], "/%2e%2e" + path, "/..%2f" + path[1:],
		path[:last] + "/..;" + path[last:], "\\" + path[1:], path + "/..", "http://other.example" + path, path + "x",
		path[:max(1, len(path)-1)], "*", "/healthz", "/metrics",
		escaped(len(path) - 1), path[:last] + "%2F" + path[last+1:], exact,
	} {
		out = append(out, enforcer.Request{Method: method, Target: target, Host: host})
	}
	for _, h := range []string{host + ":8080", strings.ToUpper(host), "other.example", "localhost"} {
		out = append(out, enforcer.Request{Method: method, Target: path, Host: h})
	}
	for _, h := range [][][2]string{
		{{"X-HTTP-Method-Override", method}}, {{"x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/a/sa/b"}},
		{{"x-a", "1"}, {"x-a", "2"}}, {{"x-original-url", "/"}, {"x-rewrite-url", "/"}},
		{{"x-envoy-original-path", "/"}}, {{"x-forwarded-for", "10.0.0.1"}},
	} {
		out = append(out, enforcer.Request{Method: method, Target: path, Host: host, Header: h})
	}
	return out
}

// TestMatrix sends every identity's requests for every endpoint of the suite,
// and near misses of each, to every Service's policies as they stand in
// istio/cells, through Envoy and through our evaluator. What is plainly an
// endpoint has to be decided as the table in catalog says, too.
func TestMatrix(t *testing.T) {
	set, err := manifest.LoadStage(root, "zero-trust", true)
	if err != nil {
		t.Fatal(err)
	}
	w, err := topology.Build(set, topology.NewAllocator())
	if err != nil {
		t.Fatal(err)
	}
	who := callers(w)
	var clients []enforcer.Client
	for i, c := range who {
		clients = append(clients, enforcer.Client{Principal: c.identity, Source: netip.MustParseAddr(
			fmt.Sprintf("127.0.1.%d", i+1)), Dest: enforcer.Destinations[0], Silent: c.identity == ""})
	}
	r := startReferee(t, clients)
	var total tally
	allowedByTable, wrong := 0, 0
	for _, s := range catalog.Services() {
		service := findService(t, w, s)
		g := group{target: translate.Target{Namespace: service.Namespace, Waypoint: "waypoint", Service: service.Name},
			policies: set.AuthorizationPolicies}
		engine := localEngine(g.policies, g.target)
		for c := range who {
			for _, rule := range s.Rules {
				for _, p := range rule.Paths {
					for i, q := range nearMisses(rule.Method, p, s.Name) {
						q.Client = c
						g.requests = append(g.requests, q)
						if i > 0 {
							continue
						}
						want := who[c].known && s.Allows(who[c].table, q.Method, q.Target)
						if got := r.local(engine, q).Status == 200; got != want {
							t.Errorf("%s %s %s on %s: allowed %v, by the table %v", who[c].identity, q.Method, q.Target,
								s.Name, got, want)
						} else if want {
							allowedByTable++
						}
					}
				}
			}
		}
		// Requests for what other services serve, in bulk.
		for c := range who {
			for _, other := range catalog.Services() {
				for _, rule := range other.Rules {
					for _, p := range rule.Paths {
						g.requests = append(g.requests, enforcer.Request{Client: c, Method: rule.Method,
							Target: strings.TrimSuffix(p, "*"), Host: s.Name})
					}
				}
			}
		}
		found, err := r.compare(t.Context(), []group{g}, &total)
		if err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		wrong += len(found)
		for i, d := range found {
			if i < 5 {
				t.Errorf("%s: %s %q host %q headers %q by %s\nEnvoy: %v\nours:  %v", s.Name, d.request.Method,
					d.request.Target, d.request.Host, d.request.Header, who[d.request.Client].identity, d.envoy,
					d.local)
			}
		}
	}
	t.Logf("%d identities, %+v", len(who), total)
	if total.requests < 20_000 || total.allowed < 500 || total.denied < 10_000 || total.refused < 100 ||
		allowedByTable < 60 {
		t.Errorf("too little was tried: %+v, %d allowed by the table", total, allowedByTable)
	}
	keep(t, r, figures.Figure{Order: 10, What: "the suite's AuthorizationPolicies", Comparisons: total.requests,
		Disagreements: wrong,
		Notes: fmt.Sprintf("%d identities; %d allowed, %d denied, %d refused before any policy", len(who),
			total.allowed, total.denied, total.refused)})
}

func findService(t *testing.T, w *topology.World, s catalog.Service) *topology.Service {
	t.Helper()
	for _, p := range w.Pods {
		if p.Cell == s.Cell && p.Component == s.Name {
			if svc := w.Service(topology.Ref{Namespace: p.Namespace, Name: s.Name}); svc != nil {
				return svc
			}
		}
	}
	t.Fatalf("the manifests have no Service of %s", s.Name)
	return nil
}

// keep notes a figure with the version of the Envoy that ran.
func keep(t *testing.T, r *referee, f figures.Figure) {
	t.Helper()
	v, err := envoy.Version(t.Context(), r.bin)
	if err != nil {
		t.Error(err)
	}
	f.Engine = "Envoy " + v + ", policies translated by Istio 1.31"
	if err := figures.Keep(f); err != nil {
		t.Error(err)
	}
}
