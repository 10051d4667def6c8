package authz

import (
	"fmt"
	"testing"

	"artemis.example/conformance/enforcer"
	"artemis.example/conformance/figures"
)

// TestWhatIsRefusedFirst compares the answers to requests with several faults at once: all
// combinations of targets, methods, hosts, versions and Connection fields.
func TestWhatIsRefusedFirst(t *testing.T) {
	r := startReferee(t, clients())
	g := group{target: target, policies: nil}
	type host struct {
		none bool
		name string
	}
	for _, method := range []string{"GET", "OPTIONS", "HEAD", "get"} {
		for _, to := range []string{"/", "/%00", "/\xe9", "/a b", "x", "*", "*x", "http://h/", "http://h", "http://h?x",
			"http://a_b/", "http://h#x", "http://h/%00", "ftp://h/"} {
			for _, h := range []host{{name: "h"}, {name: ""}, {name: "<a>"}, {none: true}} {
				for _, version := range []string{"", "HTTP/1.0", "HTTP/2.0", "http/1.1"} {
					for _, header := range [][][2]string{nil, {{"Connection", "host"}},
						{{"Connection", "x-forwarded-for"}}, {{"Connection", "upgrade"}, {"Upgrade", "foo"}},
						{{"Connection", "upgrade, host"}, {"Upgrade", "h2c"}}, {{"x y", "1"}}, {{"Host", "<b>"}}} {
						g.requests = append(g.requests, enforcer.Request{Client: len(g.requests) % len(r.clients),
							Method: method, Target: to, Host: h.name, NoHost: h.none, Version: version, Header: header})
					}
				}
			}
		}
	}
	var total tally
	found, err := r.compare(t.Context(), []group{g}, &total)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range found {
		if i < 12 {
			t.Errorf("Envoy: %v\nours:  %v\n%s", d.envoy, d.local, describe(nil, r.clients[d.request.Client],
				d.request))
		}
	}
	keep(t, r, figures.Figure{Order: 16, What: "requests with several faults", Comparisons: total.requests,
		Disagreements: len(found),
		Notes:         fmt.Sprintf("%d refused before any policy", total.refused)})
}
