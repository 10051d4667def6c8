package topology

import (
	"net/netip"
	"strings"
)

const clusterDomain = "cluster.local"

// Resolve returns the addresses of a name as a pod of that namespace sees them:
// the name itself when it is complete, and otherwise under
// each search domain of a pod in Kubernetes
// (https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/).
// A Service has its virtual address, a headless one the addresses of its pods.
// ok is false for a name that does not exist.
func (w *World) Resolve(namespace, name string) (addrs []netip.Addr, ok bool) {
	name = strings.ToLower(name)
	if full, rooted := strings.CutSuffix(name, "."); rooted {
		return w.lookup(full)
	}
	for _, search := range []string{"." + namespace + ".svc." + clusterDomain, ".svc." + clusterDomain,
		"." + clusterDomain, ""} {
		if addrs, ok := w.lookup(name + search); ok {
			return addrs, true
		}
	}
	return nil, false
}

// lookup resolves service.namespace.svc.cluster.local and
// 10-244-0-1.namespace.pod.cluster.local.
func (w *World) lookup(full string) ([]netip.Addr, bool) {
	rest, ok := strings.CutSuffix(full, "."+clusterDomain)
	if !ok {
		return nil, false
	}
	part := strings.Split(rest, ".")
	if len(part) != 3 {
		return nil, false
	}
	switch part[2] {
	case "svc":
		s := w.services[Ref{part[1], part[0]}]
		if s == nil {
			return nil, false
		}
		if s.VIP.IsValid() {
			return []netip.Addr{s.VIP}, true
		}
		var addrs []netip.Addr
		for _, p := range s.pods() {
			addrs = append(addrs, p.IP)
		}
		return addrs, true
	case "pod":
		ip, err := netip.ParseAddr(strings.ReplaceAll(part[0], "-", "."))
		if err != nil {
			return nil, false
		}
		if p := w.byIP[ip]; p != nil && p.Namespace == part[1] {
			return []netip.Addr{ip}, true
		}
	}
	return nil, false
}
