package authz

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	rbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"

	"artemis.example/conformance/enforcer"
	"artemis.example/conformance/figures"
	"artemis.example/conformance/translate"
	"artemis.example/policy/analysis"
	"artemis.example/policy/authz"
	"artemis.example/policy/message"
)

var pairs = flag.Int("pairs", 10_000, "how many pairs of policy sets whose differences Envoy is asked about")

// TestEachDifferenceIsOneToEnvoy generates pairs of policy sets, lets analysis say which
// requests of a caller they decide differently, and sends each of these to Envoy under
// either set: it has to admit it under the one and refuse it under the other.
func TestEachDifferenceIsOneToEnvoy(t *testing.T) {
	r := startReferee(t, clients())
	asked, differ, beyond, correlated, wrong := 0, 0, 0, 0, 0
	for batch := uint64(0); asked < *pairs; batch++ {
		g := &generator{Rand: rand.New(rand.NewPCG(*seed+1, batch)), clients: r.clients, seen: map[string]int{}}
		sets := map[string][]*rbac.RBAC{}
		type expected struct {
			admitted bool
			policies policySet
		}
		var requests []enforcer.Judged
		var want []expected
		for i := range 500 {
			base := []enforcer.Request{g.request(), g.request()}
			pair := [2]policySet{g.policies(base)}
			pair[1] = append(slices.Clone(pair[0]), g.policies(base)...)
			for j := range pair[1] {
				pair[1][j] = pair[1][j].DeepCopy()
				pair[1][j].Name = fmt.Sprintf("%s-%d", pair[1][j].Name, j)
			}
			client := base[0].Client
			c := r.clients[client]
			var engines [2]*authz.Engine
			for side, set := range pair {
				filters, err := translate.Waypoint(set, target)
				if err != nil {
					t.Fatal(err)
				}
				sets[fmt.Sprintf("pair-%d-%d", i, side)] = filters
				engines[side] = localEngine(set, target)
			}
			call := authz.Request{Principal: c.Principal, SourceIP: c.Source, RemoteIP: c.Source, DestIP: c.Dest.Addr(),
				DestPort: c.Dest.Port()}
			call.Header = message.Waypoint{Identity: c.WaypointIdentity(), ClientIdentity: !c.Silent}.Certain(
				c.Principal)
			found, err := analysis.Differences(engines[0], engines[1], call, message.Certain)
			if err != nil {
				correlated++ // said, not guessed
				continue
			}
			asked++
			for _, d := range found {
				q, ok := sendable(client, d.Request, c)
				if !ok {
					beyond++
					continue
				}
				for side, admitted := range []bool{d.Before, d.After} {
					requests = append(requests, enforcer.Judged{Set: fmt.Sprintf("pair-%d-%d", i, side), Request: q})
					want = append(want, expected{admitted, pair[side]})
				}
				differ++
			}
		}
		verdicts, err := r.envoy.Decide(t.Context(), sets, requests)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range verdicts {
			if got := v.Status == http.StatusOK; got != want[i].admitted || !got && v.Status != http.StatusForbidden {
				if wrong++; wrong < 60 {
					q := requests[i].Request
					ours := localOutcome(localEngine(want[i].policies, target), r.clients[q.Client], q)
					t.Errorf("LOCAL %d Envoy answers %d %s %q, analysis says that it admits: %t\n%q\n%s", ours.Status,
						v.Status, v.Details, v.Body, want[i].admitted, q.Bytes(), describe(want[i].policies,
							r.clients[q.Client], q))
				}
			}
		}
	}
	t.Logf("%d pairs, %d differences sent to Envoy twice, %d wrong; %d could be sent by HTTP/2 only, %d pairs not "+
		"judged", asked, differ, wrong, beyond, correlated)
	if wrong > 0 || differ < asked/4 || correlated > asked/5 {
		t.Errorf("%d of %d differences are none to Envoy; %d pairs are not judged", wrong, differ, correlated)
	}
	keep(t, r, figures.Figure{Order: 15, What: "differences that artemis diff finds", Comparisons: 2 * differ,
		Notes: fmt.Sprintf("%d generated pairs of policy sets, seed %d: each request that one admits and the other "+
			"refuses, sent under both; %d pairs are said to be not judged", asked, *seed+1, correlated)})
}

// sendable writes an example as a client sends it over HTTP/1.1, which not every method
// can be.
func sendable(client int, r *authz.Request, c enforcer.Client) (enforcer.Request, bool) {
	q := enforcer.Request{Client: client, Method: r.Method, Target: r.Path, Host: r.Host}
	if !slices.Contains(strings.Fields("GET POST PUT HEAD DELETE PATCH OPTIONS TRACE ACL BIND CHECKOUT COPY LINK "+
		"LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE MSEARCH M-SEARCH NOTIFY PROPFIND PROPPATCH PURGE REBIND REPORT "+
		"SEARCH SOURCE SUBSCRIBE UNBIND UNLINK UNLOCK UNSUBSCRIBE"), r.Method) {
		return q, false
	}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if message.Certain(name) {
			continue
		}
		for _, line := range r.Header[name] {
			q.Header = append(q.Header, [2]string{name, line})
		}
	}
	switch connection, upgrade := len(r.Header["Connection"]) > 0, len(r.Header["Upgrade"]) > 0; {
	case connection && !upgrade:
		q.Header = append(q.Header, [2]string{"upgrade", "websocket"})
	case upgrade && !connection:
		q.Header = append(q.Header, [2]string{"connection", "upgrade"})
	}
	if r.Scheme == "https" && len(r.Header["X-Forwarded-Proto"]) == 0 {
		q.Header = append(q.Header, [2]string{"x-forwarded-proto", "https"})
	}
	if r.RemoteIP != c.Source && len(r.Header["X-Forwarded-For"]) == 0 {
		q.Header = append(q.Header, [2]string{"x-forwarded-for", r.RemoteIP.String()})
	}
	return q, true
}
