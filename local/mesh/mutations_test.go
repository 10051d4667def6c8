package mesh

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"artemis.example/policy/analysis"
	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// every says how many of the mutations are tried: with 1, all of them.
var every = flag.Int("mutations-every", 25, "try each n-th mutation of the rendered manifests")

// mutation is one step away from the rendered manifests.
type mutation struct {
	name  string
	stage string
	apply func(*manifest.Set)
	anew  bool // it is for connections that are opened afterwards
}

// mutations are the mistakes that people make, one by one, everywhere that they can be
// made.
func mutations(base map[string]*manifest.Set) []mutation {
	var out []mutation
	add := func(stage, name string, apply func(*manifest.Set)) {
		out = append(out, mutation{name: name, stage: stage, apply: apply})
	}
	policy := func(i int, change func(*securityv1.AuthorizationPolicy)) func(*manifest.Set) {
		return func(s *manifest.Set) {
			s.AuthorizationPolicies = slices.Clone(s.AuthorizationPolicies)
			p := s.AuthorizationPolicies[i].DeepCopy()
			change(p)
			s.AuthorizationPolicies[i] = p
		}
	}
	zero := base["zero-trust"]
	for i, p := range zero.AuthorizationPolicies {
		at := p.Namespace + "/" + p.Name
		drop := func(s *manifest.Set) {
			s.AuthorizationPolicies = slices.Delete(slices.Clone(s.AuthorizationPolicies), i, i+1)
		}
		switch {
		case len(p.Spec.TargetRefs) == 0: // via-waypoint-only
			add("zero-trust", at+" dropped", drop)
			add("zero-trust", at+" admits everybody",
				policy(i, func(p *securityv1.AuthorizationPolicy) { p.Spec.Rules = []*securityv1beta1.Rule{{}} }))
			add("zero-trust", at+" by a name that any namespace can have",
				policy(i, func(p *securityv1.AuthorizationPolicy) {
					p.Spec.Rules[0].From[0].Source = &securityv1beta1.Source{Principals: []string{"*/sa/adversary"}}
				}))
			continue
		case len(p.Spec.Rules) == 0: // default-deny
			add("zero-trust", at+" dropped", drop)
			add("zero-trust", at+" is only watched",
				policy(i,
					func(p *securityv1.AuthorizationPolicy) {
						p.Annotations = map[string]string{"istio.io/dry-run": "true"}
					}))
			add("zero-trust", at+" admits everybody",
				policy(i, func(p *securityv1.AuthorizationPolicy) { p.Spec.Rules = []*securityv1beta1.Rule{{}} }))
			continue
		}
		add("zero-trust", at+" dropped", drop)
		add("zero-trust", at+" without rules",
			policy(i, func(p *securityv1.AuthorizationPolicy) { p.Spec.Rules = nil }))
		add("zero-trust", at+" is only watched", policy(i,
			func(p *securityv1.AuthorizationPolicy) { p.Annotations = map[string]string{"istio.io/dry-run": "true"} }))
		add("zero-trust", at+" attached to another name",
			policy(i, func(p *securityv1.AuthorizationPolicy) { p.Spec.TargetRefs[0].Name += "-x" }))
		add("zero-trust", at+" denies", policy(i,
			func(p *securityv1.AuthorizationPolicy) { p.Spec.Action = securityv1beta1.AuthorizationPolicy_DENY }))
		if p.Name != "launch-control-authz" { // it admits the gateway alone, which goes nowhere else
			add("zero-trust", at+" on the whole waypoint", policy(i, func(p *securityv1.AuthorizationPolicy) {
				p.Spec.TargetRefs[0].Kind, p.Spec.TargetRefs[0].Name, p.Spec.TargetRefs[0].Group = "Gateway",
					"waypoint", "gateway.networking.k8s.io"
			}))
		}
		for j := range p.Spec.Rules {
			rule := func(name string, change func(*securityv1beta1.Rule)) {
				add("zero-trust", fmt.Sprintf("%s rule %d: %s", at, j, name),
					policy(i, func(p *securityv1.AuthorizationPolicy) { change(p.Spec.Rules[j]) }))
			}
			add("zero-trust", fmt.Sprintf("%s rule %d dropped", at, j), policy(i,
				func(p *securityv1.AuthorizationPolicy) { p.Spec.Rules = slices.Delete(p.Spec.Rules, j, j+1) }))
			rule("one more method", func(r *securityv1beta1.Rule) {
				r.To[0].Operation.Methods = append(
					r.To[0].Operation.Methods, "PUT")
			})
			rule("every method", func(r *securityv1beta1.Rule) { r.To[0].Operation.Methods = nil })
			rule("a wider path", func(r *securityv1beta1.Rule) { r.To[0].Operation.Paths[0] += "*" })
			rule("every path", func(r *securityv1beta1.Rule) { r.To[0].Operation.Paths = []string{"*"} })
			rule("a path with a typing error", func(r *securityv1beta1.Rule) { r.To[0].Operation.Paths[0] += "s" })
			if v := p.Spec.Rules[j].From[0].Source.Principals[0]; strings.Contains(v, "/dp-default-") {
				rule("the caller's whole Cell", func(r *securityv1beta1.Rule) {
					r.From[0].Source.Principals[0] = v[:strings.LastIndex(v, "/")+1] + "*"
				})
			}
			rule("one more caller", func(r *securityv1beta1.Rule) {
				r.From[0].Source.Principals = append(r.From[0].Source.Principals,
					"cluster.local/ns/dp-default-orion-development-1bced798/sa/adversary")
			})
			rule("everybody", func(r *securityv1beta1.Rule) { r.From = nil })
			rule("everything", func(r *securityv1beta1.Rule) { r.To = nil })
			rule("everybody but", func(r *securityv1beta1.Rule) {
				s := r.From[0].Source
				s.NotPrincipals, s.Principals = s.Principals, nil
			})
		}
	}
	for i, s := range zero.Services {
		service := func(name string, change func(*corev1.Service)) {
			add("zero-trust", fmt.Sprintf("Service %s/%s %s", s.Namespace, s.Name, name), func(set *manifest.Set) {
				set.Services = slices.Clone(set.Services)
				c := set.Services[i].DeepCopy()
				change(c)
				set.Services[i] = c
			})
		}
		if !strings.HasPrefix(s.Namespace, "dp-default-") || strings.Contains(s.Name, "-second") || strings.Contains(
			s.Name, "-headless") || strings.Contains(s.Name, "-shadow") || strings.HasPrefix(s.Name, "adversary") {
			continue
		}
		service("past the waypoint", func(s *corev1.Service) { s.Labels["istio.io/use-waypoint"] = "none" })
		service("on another port", func(s *corev1.Service) { s.Spec.Ports[0].Port = 8081 })
		service("of TCP", func(s *corev1.Service) { s.Spec.Ports[0].Name = "tcp" })
		// A connection that the gateway has open stays what it was opened as.
		out[len(out)-1].anew = s.Name == "flight-director" || s.Name == "launch-control"
		service("over other pods", func(s *corev1.Service) { s.Spec.Selector["openchoreo.dev/component"] = "nothing" })
		if s.Name == "flight-director" || s.Name == "launch-control" {
			service("past the waypoint from the gateway", func(s *corev1.Service) {
				delete(s.Labels, "istio.io/ingress-use-waypoint")
			})
		}
	}
	for i, r := range zero.HTTPRoutes {
		if !strings.HasPrefix(r.Namespace, "dp-default-") {
			continue
		}
		route := func(name string, change func(*gatewayv1.HTTPRoute)) {
			add("zero-trust", "HTTPRoute "+r.Name+" "+name, func(set *manifest.Set) {
				set.HTTPRoutes = slices.Clone(set.HTTPRoutes)
				c := set.HTTPRoutes[i].DeepCopy()
				change(c)
				set.HTTPRoutes[i] = c
			})
		}
		route("under another path", func(r *gatewayv1.HTTPRoute) { *r.Spec.Rules[0].Matches[0].Path.Value += "-x" })
		route("for another host", func(r *gatewayv1.HTTPRoute) { r.Spec.Hostnames[0] = "elsewhere.localhost" })
		route("to another prefix", func(r *gatewayv1.HTTPRoute) {
			to := "/decision"
			r.Spec.Rules[0].Filters[0].URLRewrite.Path.ReplacePrefixMatch = &to
		})
	}
	for _, stage := range []string{"zero-trust", "mtls", "open"} {
		set := base[stage]
		for i, n := range set.Namespaces {
			if !strings.HasPrefix(n.Name, "dp-default-") {
				continue
			}
			namespace := func(name string, change func(*corev1.Namespace)) {
				add(stage, fmt.Sprintf("Namespace %s %s, at %s", n.Name, name, stage), func(set *manifest.Set) {
					set.Namespaces = slices.Clone(set.Namespaces)
					c := set.Namespaces[i].DeepCopy()
					change(c)
					set.Namespaces[i] = c
				})
			}
			if stage == "zero-trust" {
				namespace("without its waypoint", func(n *corev1.Namespace) {
					delete(n.Labels, "istio.io/use-waypoint")
				})
			}
			if stage != "open" {
				namespace("out of the mesh", func(n *corev1.Namespace) { delete(n.Labels, "istio.io/dataplane-mode") })
			}
		}
		for i, p := range set.PeerAuthentications {
			if stage != "mtls" || !strings.HasPrefix(p.Namespace, "dp-default-orion-") {
				continue // the only Cell that has a pod outside of the mesh, to send what is opened
			}
			add(stage, "PeerAuthentication "+p.Namespace+" takes plaintext, at "+stage, func(set *manifest.Set) {
				set.PeerAuthentications = slices.Clone(set.PeerAuthentications)
				c := set.PeerAuthentications[i].DeepCopy()
				c.Spec.Mtls.Mode = securityv1beta1.PeerAuthentication_MutualTLS_PERMISSIVE
				set.PeerAuthentications[i] = c
			})
		}
		for i, p := range set.NetworkPolicies {
			if !strings.HasPrefix(p.Namespace, "dp-default-") || stage == "mtls" {
				continue
			}
			network := func(name string, change func(*networkingv1.NetworkPolicy)) {
				add(stage, fmt.Sprintf("NetworkPolicy %s/%s %s, at %s", p.Namespace, p.Name, name, stage),
					func(set *manifest.Set) {
						set.NetworkPolicies = slices.Clone(set.NetworkPolicies)
						c := set.NetworkPolicies[i].DeepCopy()
						change(c)
						set.NetworkPolicies[i] = c
					})
			}
			switch hbone := p.Name == "allow-istio-hbone"; {
			case hbone && stage == "zero-trust":
				network("on another port", func(p *networkingv1.NetworkPolicy) {
					port := intstr.FromInt32(15009)
					p.Spec.Ingress[0].Ports[0].Port = &port
				})
				network("for other namespaces", func(p *networkingv1.NetworkPolicy) {
					p.Spec.Ingress[0].From[0].NamespaceSelector.MatchLabels["openchoreo.dev/environment"] = "production"
				})
			case !hbone && stage == "open":
				network("on every port from everywhere",
					func(p *networkingv1.NetworkPolicy) {
						p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
					})
				network("from nowhere", func(p *networkingv1.NetworkPolicy) { p.Spec.Ingress = nil })
				network("from every namespace", func(p *networkingv1.NetworkPolicy) {
					p.Spec.Ingress[0].From[0] = networkingv1.NetworkPolicyPeer{
						NamespaceSelector: &metav1.LabelSelector{}}
				})
			}
		}
	}
	return out
}

// TestAMutationIsFoundWithARequestThatFlips plants mistakes in the rendered manifests, one
// at a time: diff has to find each, and the requests that it shows have to be decided
// one way before and the other way after, by the live mesh.
func TestAMutationIsFoundWithARequestThatFlips(t *testing.T) {
	t.Parallel()
	base := map[string]*manifest.Set{}
	for _, stage := range []string{"zero-trust", "mtls", "open"} {
		set, err := manifest.LoadStage(filepath.Join("..", ".."), stage, true)
		if err != nil {
			t.Fatal(err)
		}
		// A second Service over protected pods in every Cell: what default-deny is for.
		var more []*corev1.Service
		for _, s := range set.Services {
			for _, name := range []string{"capcom", "weather-station", "signal-router", "mission-relay",
				"guidance-nav"} {
				if s.Name == name {
					c := s.DeepCopy()
					c.Name += "-second-way"
					more = append(more, c)
				}
			}
		}
		set.Services = append(set.Services, more...)
		base[stage] = set
	}
	all := mutations(base)
	if len(all) < 300 {
		t.Fatalf("%d mutations, want at least 300", len(all))
	}
	r := newRig(t, Config{Log: NewDecisionLog(64)}, base["zero-trust"])
	worlds := map[string]*topology.World{}
	for stage, set := range base {
		w, err := topology.Build(set, r.alloc)
		if err != nil {
			t.Fatal(err)
		}
		worlds[stage] = w
	}
	tried, sent := 0, 0
	for i, m := range all {
		if i%*every != 0 {
			continue
		}
		tried++
		mutated := *base[m.stage]
		m.apply(&mutated)
		w, err := topology.Build(&mutated, r.alloc)
		if err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		c := analysis.Diff(analysis.Exactly(worlds[m.stage]), analysis.Exactly(w), analysis.Options{})
		if c.Verdict != "different" || len(c.NotJudged) > 0 {
			t.Errorf("%s: %s %v", m.name, c.Verdict, c.NotJudged)
			continue
		}
		// Of all that it tells, some of each kind are sent.
		type asked struct {
			opens bool
			analysis.Probe
		}
		var probes []asked
		seen := map[string]int{}
		for _, change := range c.Changes {
			for _, p := range change.Probes {
				kind := fmt.Sprint(change.Opens, p.To.Service != nil, p.To.Route != nil, p.Bytes)
				if p.From == nil || p.Unwritten || seen[kind] >= 3 {
					continue
				}
				seen[kind]++
				probes = append(probes, asked{change.Opens, p})
			}
		}
		if len(probes) == 0 {
			t.Errorf("%s: diff shows no request that somebody here could send: %+v", m.name, c.Changes[0])
			continue
		}
		for _, after := range []bool{false, true} {
			set := base[m.stage]
			if after {
				set = &mutated
			}
			rig := r
			if m.anew && after { // the same addresses, and nothing that was opened before
				rig = newRig(t, Config{Log: NewDecisionLog(64)}, base["zero-trust"])
			}
			rig.apply(m.stage, set)
			for _, p := range probes {
				want := p.opens == after
				got, saw := rig.probe(&p.Probe)
				sent++
				if got != want {
					t.Errorf("%s: %s %s %s %s to %+v (after: %t): admitted %t (%s), diff says %t",
						m.name, topologyName(p.From), p.Request.Method, p.Host, p.Path, where(p.To), after, got, saw,
						want)
				}
			}
		}
	}
	t.Logf("%d of %d mutations, %d requests", tried, len(all), sent)
}

func topologyName(p *topology.Pod) string { return p.Ref.String() }

func where(d topology.Destination) string {
	switch {
	case d.Service != nil:
		return fmt.Sprintf("Service %s:%d", d.Service.Ref, d.Port)
	case d.Route != nil:
		return "HTTPRoute " + d.Route.Ref.String()
	}
	return fmt.Sprintf("pod %s:%d", d.Pod.Ref, d.Port)
}

// probe sends a request as its caller would, and reports whether the program in the pod
// answered it.
func (r *rig) probe(p *analysis.Probe) (admitted bool, saw string) {
	r.t.Helper()
	var c net.Conn
	var err error
	switch {
	case p.To.Route != nil:
		c, err = net.DialTimeout("tcp4", r.gate, 5*time.Second)
	case p.To.Service != nil && p.To.Service.VIP.IsValid():
		c, err = r.dial(p.From.Ref, netip.AddrPortFrom(p.To.Service.VIP, p.To.Port))
	case p.To.Service != nil: // headless: the pod behind it
		b := p.To.Service.Backends(p.To.Port)
		if len(b) == 0 {
			return false, "no pod"
		}
		c, err = r.dial(p.From.Ref, netip.AddrPortFrom(b[0].Pod.IP, p.To.Port))
	default:
		c, err = r.dial(p.From.Ref, netip.AddrPortFrom(p.To.Pod.IP, p.To.Port))
	}
	if err != nil {
		return false, err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	text := "EHLO here\r\n\r\n"
	if !p.Bytes {
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", p.Request.Method, p.Path, p.Host)
		for name, lines := range p.Request.Header {
			for _, l := range lines {
				if name != "X-Forwarded-Client-Cert" {
					fmt.Fprintf(&b, "%s: %s\r\n", name, l)
				}
			}
		}
		b.WriteString("\r\n")
		text = b.String()
	}
	if _, err := io.WriteString(c, text); err != nil {
		return false, err.Error()
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return false, err.Error()
	}
	line = strings.TrimSpace(line)
	return p.Bytes || strings.HasPrefix(line, "HTTP/1.1 200"), line
}
