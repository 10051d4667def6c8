package topology_test

import (
	"fmt"
	"strings"
	"testing"

	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
	"github.com/google/go-cmp/cmp"
)

// hosts are routes for hosts that overlap, at a gateway of two listeners, one of which is
// for one domain.
const hosts = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: shop}
spec:
  gatewayClassName: istio
  listeners:
  - {name: any, port: 80, protocol: HTTP}
  - {name: domain, port: 81, protocol: HTTP, hostname: "*.shop.example"}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
`

func TestTheClosestHostnameDecidesFirst(t *testing.T) {
	route := func(name, section, hostnames, path string) string {
		return fmt.Sprintf("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"+
			"metadata: {name: %s, namespace: shop}\nspec:\n  parentRefs: [{name: front, sectionName: %s}]\n"+
			"  hostnames: [%s]\n  rules: [{matches: [{path: {type: PathPrefix, value: %s}}], "+
			"backendRefs: [{name: web, port: 80}]}]\n---\n", name, section, hostnames, path)
	}
	text := hosts + route("everybody", "any", "", "/deep/below") + route("exact", "any", "cart.shop.example", "/cart") +
		route("wild", "any", `"*.example"`, "/deep") + route("inside", "domain", `"*.example", other.org`, "/inside") +
		route("outside", "domain", "other.org", "/outside")
	in, err := manifest.ReadInput(manifest.Source{Stdin: strings.NewReader(text)}, "-")
	if err != nil || len(in.Problems) > 0 {
		t.Fatal(err, in.Problems)
	}
	w, err := topology.Build(in.Set, topology.NewAllocator())
	if err != nil {
		t.Fatal(err)
	}
	w = &topology.World{Routes: w.Gateways[0].Routes}
	got := map[string]string{}
	want := map[string]string{
		"cart.shop.example/cart":    "exact",
		"CART.shop.example:80/cart": "exact",
		// no rule of the closest hostname takes it
		"cart.shop.example/deep":       "",
		"cart.shop.example/inside":     "",
		"log.shop.example/inside/x":    "inside",
		"log.shop.example/deep":        "",
		"a.example/deep/below":         "wild",
		"a.example/inside":             "",
		"example/deep/below":           "everybody",
		"nobody.org/deep/below":        "everybody",
		"nobody.org/deep":              "",
		"other.org/outside":            "",
		"other.org/deep/below/as/well": "everybody",
	}
	for request := range want {
		host, path, _ := strings.Cut(request, "/")
		got[request] = ""
		if r, _ := w.Route(host, "/"+path); r != nil {
			got[request] = r.Name
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("which route takes what (-want +got):\n%s", diff)
	}
}
