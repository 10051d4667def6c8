package manifest

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	istionetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// checkServiceEntry refuses what istiod's admission refuses (istio.io/istio
// pkg/config/validation, ValidateServiceEntry).
func (o *object) checkServiceEntry(e *istionetworkingv1.ServiceEntry) {
	spec := &e.Spec
	if spec.WorkloadSelector != nil && spec.Endpoints != nil {
		o.invalid("spec", "only one of workloadSelector and endpoints can be set")
	}
	o.checkLabels("spec.workloadSelector.labels", spec.WorkloadSelector.GetLabels())
	if len(spec.Hosts) == 0 {
		o.invalid("spec.hosts", "must have at least one host")
	}
	wild := 0
	for _, h := range spec.Hosts {
		name := strings.TrimPrefix(h, "*.")
		if len(name) < len(h) {
			wild++
		}
		if strings.Trim(h, "*") == "" {
			o.invalid("spec.hosts", "%q is no host", h)
		}
		for label := range strings.SplitSeq(strings.ToLower(name), ".") {
			if !strings.Contains(label, "*") && len(validation.IsDNS1123Label(label)) > 0 {
				o.invalid("spec.hosts", "%q is no host: %q can be no part of one", h, label)
			}
		}
	}
	for _, a := range spec.Addresses {
		if err := checkIP(a); err != nil {
			o.invalid("spec.addresses", "%v", err)
		} else if strings.Contains(a, "/") && spec.Resolution != networkingv1alpha3.ServiceEntry_NONE &&
			spec.Resolution != networkingv1alpha3.ServiceEntry_STATIC {
			o.invalid("spec.addresses", "%s: blocks are allowed for resolution NONE and STATIC only", a)
		}
	}
	o.checkEntryPorts(spec)
	switch spec.Resolution {
	case networkingv1alpha3.ServiceEntry_NONE:
		if len(spec.Endpoints) > 0 {
			o.invalid("spec.endpoints", "resolution NONE takes no endpoints")
		}
	case networkingv1alpha3.ServiceEntry_STATIC:
		for _, w := range spec.Endpoints {
			if _, err := netip.ParseAddr(w.GetAddress()); err != nil && w.GetAddress() != "" &&
				!strings.HasPrefix(w.GetAddress(), "unix://") {
				o.invalid("spec.endpoints", "resolution STATIC takes addresses, not %q", w.GetAddress())
			}
		}
	case networkingv1alpha3.ServiceEntry_DNS, networkingv1alpha3.ServiceEntry_DNS_ROUND_ROBIN:
		if wild > 0 && len(spec.Endpoints) == 0 {
			o.invalid("spec.hosts", "resolution %s without endpoints takes no wildcards", spec.Resolution)
		}
		if spec.Resolution == networkingv1alpha3.ServiceEntry_DNS_ROUND_ROBIN && len(spec.Endpoints) > 1 {
			o.invalid("spec.endpoints", "resolution DNS_ROUND_ROBIN takes one endpoint at most")
		}
	case networkingv1alpha3.ServiceEntry_DYNAMIC_DNS:
		if wild < len(spec.Hosts) {
			o.invalid("spec.hosts", "resolution DYNAMIC_DNS takes wildcards only")
		}
		if len(spec.Addresses)+len(spec.Endpoints) > 0 {
			o.invalid("spec", "resolution DYNAMIC_DNS takes neither addresses nor endpoints")
		}
	}
}

func (o *object) checkEntryPorts(spec *networkingv1alpha3.ServiceEntry) {
	names, numbers := map[string]bool{}, map[uint32]bool{}
	for _, p := range spec.Ports {
		switch {
		case p.GetNumber() == 0 || p.GetNumber() > 65535 || p.GetTargetPort() > 65535:
			o.invalid("spec.ports", "%d is no port", max(p.GetNumber(), p.GetTargetPort()))
		case numbers[p.Number]:
			o.invalid("spec.ports", "port %d is given twice", p.Number)
		case names[p.Name]:
			o.invalid("spec.ports", "port name %q is given twice", p.Name)
		case len(validation.IsDNS1123Label(p.Name)) > 0:
			o.invalid("spec.ports", "a port needs a name, and %q is none", p.Name)
		}
		numbers[p.GetNumber()], names[p.GetName()] = true, true
		if p.GetProtocol() != "" && !slices.Contains([]string{"tcp", "http", "http_proxy", "https", "http2", "grpc",
			"grpc-web", "grpc-web-text", "tls", "mongo", "redis", "mysql", "udp", "hbone", "doublehbone"},
			strings.ToLower(p.Protocol)) {
			o.invalid("spec.ports", "%q is no protocol", p.Protocol)
		}
	}
}

// serviceEntries names what of the ServiceEntries, and of the endpoints that
// somebody else gives Services, is not known here.
func (in *Input) serviceEntries() {
	given := map[string][]Key{} // by what can be given once in a namespace: a host, an address
	for _, s := range in.Set.Services {
		host := s.Name + "." + s.Namespace + ".svc.cluster.local"
		given[host+" in "+s.Namespace] = []Key{KeyOf(s)}
	}
	for _, e := range in.Set.ServiceEntries {
		key := KeyOf(e)
		for _, what := range append(slices.Clone(e.Spec.Hosts), e.Spec.Addresses...) {
			what = strings.ToLower(what) + " in " + e.Namespace
			if !slices.Contains(given[what], key) {
				given[what] = append(given[what], key)
			}
		}
		in.entryGaps(e)
	}
	for _, what := range slices.Sorted(maps.Keys(given)) {
		keys := given[what]
		for _, k := range keys {
			if k.Kind == "ServiceEntry" && len(keys) > 1 {
				in.gap(Gap{Origin: in.Set.Origins[k], Object: k, Why: fmt.Sprintf(
					"%d objects give %s, and one of them counts: a Service, or the oldest", len(keys), what)},
					k.scope())
			}
		}
	}
	for _, o := range in.Other {
		if o.Kind == "WorkloadEntry" && strings.HasPrefix(o.APIVersion, "networking.istio.io/") {
			in.workloadEntry(o)
		}
	}
}

func (in *Input) entryGaps(e *istionetworkingv1.ServiceEntry) {
	lacks := func(path, why string) { in.gapAt(KeyOf(e), path, why, KeyOf(e).scope()) }
	wild := slices.ContainsFunc(e.Spec.Hosts, func(h string) bool { return strings.HasPrefix(h, "*") })
	switch {
	case len(e.Spec.Addresses) > 0 || e.Spec.Resolution == networkingv1alpha3.ServiceEntry_NONE:
	case strings.EqualFold(e.Labels["networking.istio.io/enable-autoallocate-ip"], "false"):
		lacks("metadata.labels.networking.istio.io/enable-autoallocate-ip",
			"it has no address: what its hosts are to a caller, DNS says")
	case wild && e.Spec.Resolution != networkingv1alpha3.ServiceEntry_DYNAMIC_DNS:
		lacks("spec.hosts", "a host with a wildcard gets no address: what it is to a caller, DNS says")
	}
	for i, w := range e.Spec.Endpoints {
		if w.GetNetwork() != "" || strings.HasPrefix(w.GetAddress(), "unix://") || w.GetAddress() == "" {
			lacks(fmt.Sprintf("spec.endpoints[%d]", i), "it is in another network, or a socket")
		}
	}
	for _, label := range []string{"networking.istio.io/tunnel", "security.istio.io/tlsMode"} {
		if e.Labels[label] != "" {
			lacks("metadata.labels."+label, "its endpoints take part in the mesh themselves")
		}
	}
}

// workloadEntry names the Services that an endpoint outside of the cluster is behind.
func (in *Input) workloadEntry(o Object) {
	touches := func(s Scope) {
		in.gap(Gap{Origin: o.Origin, Object: o.Key, Why: "is an endpoint that is no pod, of which nothing is known"}, s)
	}
	for _, s := range in.Set.Services {
		if s.Namespace == o.Namespace && len(s.Spec.Selector) > 0 && Selects(s.Spec.Selector, o.content.Spec.Labels) {
			touches(KeyOf(s).scope())
		}
	}
	for _, e := range in.Set.ServiceEntries {
		if w := e.Spec.WorkloadSelector; e.Namespace == o.Namespace && w != nil &&
			Selects(w.Labels, o.content.Spec.Labels) {
			touches(KeyOf(e).scope())
		}
	}
}
