package lint

import "artemis.example/policy/manifest"

// Class is one kind of finding.
type Class struct {
	Name     string
	Severity Severity // the highest that it has
	// Summary says what is the case, Why what makes it so and what follows.
	Summary, Why string
	// Threads are where somebody fell into it, as "owner/repository#number".
	Threads []string
}

// Checks returns every class of finding. Each has an example that has it and one
// that has not in testdata/checks.
func Checks() []Class {
	return []Class{
		{"attached-to-nothing", Error, "a policy or route names something that is not there",
			"A selector finds pods, and a targetRef finds a Service or Gateway, of the policy's own namespace only. " +
				"One that finds nothing is no error to the API server, and does nothing. It is an error here where " +
				"the Namespace is among the files with objects of the kind; else it is not judged.",
			[]string{"istio/istio#57315", "istio/istio#48273"}},
		{"service-without-waypoint", Error, "nothing judges methods and paths for this Service",
			"A policy with a target is the waypoint's. Where the Service uses none, opts out, or is headless, so " +
				"that calls go to the pods' own addresses, nobody gets the policy.",
			[]string{"istio/istio#57315"}},
		{"waypoint-missing", Error, "a Service is to use a waypoint that does not exist: calls go past it",
			"istiod tells node proxies of a waypoint once its Gateway has an address. Until then calls go straight " +
				"to the pods: the label alone fails open.",
			[]string{"istio/istio#56991"}},
		{"waypoint-does-not-cover", Error, "the waypoint that a Service is to use does not serve it",
			"A waypoint serves Services, workloads, both or none (istio.io/waypoint-for), and takes those of other " +
				"namespaces only where its listener's allowedRoutes admit them; by default they admit the Gateway's " +
				"own namespace. Otherwise calls go past it.",
			[]string{"istio/istio.io#16781"}},
		{"waypoint-shut-out", Error, "the pods refuse their own waypoint: every call through it ends with 503",
			"Behind a waypoint the pod's node proxy sees the waypoint as the caller, not the client. A policy " +
				"without a target that names the client, or nobody, refuses everything that comes through the " +
				"waypoint.",
			[]string{"istio/istio.io#16586", "istio/istio#44671", "siutsin/otaru#3129"}},
		{"not-in-the-mesh", Error, "pods that a policy is for are not enrolled: nothing enforces it",
			"Node proxies stand for the pods of the ambient mesh only. A policy for others is enforced by nobody, " +
				"and pods behind a waypoint that are not in the mesh take whoever dials them.",
			[]string{"istio/istio#44534"}},
		{"sidecar-in-ambient", Warning, "a pod with a sidecar in an ambient namespace",
			"istio-cni leaves pods with a sidecar alone: their policies are the sidecar's, who reads selectors and " +
				"methods otherwise than node proxies and waypoints do. Its findings are not judged here.",
			[]string{"istio/istio.io#17000"}},
		{"l7-in-selector-policy", Error,
			"a policy without a target says something about HTTP, which node proxies do not see",
			"A policy without targetRefs goes to node proxies, which see connections and no requests. An ALLOW rule " +
				"with methods, paths, hosts or tokens is left out as a whole, so that it allows nothing; a DENY rule " +
				"loses those parts and denies more.",
			[]string{"istio/istio#43476", "istio/istio#44232", "istio/istio#43576", "istio/istio#54334"}},
		{"deny-no-op", Error, "a DENY that denies nothing at node proxies",
			"What is left of the rule when its HTTP parts are taken off is empty, and an empty clause never matches. " +
				"Istio's status calls the policy more restrictive; it restricts nothing.",
			[]string{"istio/istio#61126"}},
		{"not-enforced-by-node-proxy", Error, "an action that node proxies do not know",
			"Node proxies implement ALLOW and DENY. AUDIT and CUSTOM need a target that a waypoint serves.",
			[]string{"istio/istio.io#15006"}},
		{"trust-domains-ignored", Error, "trustDomains in a policy for node proxies",
			"istiod's conversion for node proxies knows no trustDomains: the rule is enforced without them, and " +
				"admits the same namespace of any trust domain.", nil},
		{"never-matches", Warning, "a value that no request can have",
			"Methods are compared letter by letter; paths begin with a slash, have no query and are normalised " +
				"before they are compared; a star counts at one end; a waypoint sees the Service's port and a node " +
				"proxy the pod's. A value that misses one of these is never met: its ALLOW allows nothing, its DENY " +
				"denies nothing.",
			[]string{"istio/istio#53071"}},
		{"address-at-waypoint", Warning, "a caller's address in a policy for a waypoint, which sees none",
			"A waypoint's policies see the connection as it comes out of the tunnel, and that has no address: " +
				"ipBlocks and source.ip match nobody, so that an ALLOW admits nobody by them and a DENY denies " +
				"nobody, and notIpBlocks matches everybody. remoteIpBlocks and remote.ip work, with what " +
				"x-forwarded-for says: whoever calls can write it.",
			[]string{"istio/istio#46982"}},
		{"peerauth-lost", Error, "a mode of mTLS that istiod's conversion for node proxies loses",
			"Node proxies get PeerAuthentications as rules. Under a STRICT mesh, a STRICT port of a workload that " +
				"says PERMISSIVE is left out of them; and beside a namespace's PeerAuthentication without a mode, " +
				"one PERMISSIVE port opens all the others.",
			[]string{"istio/istio#53884"}},
		{"literal-star", Warning, "a star that is taken literally",
			"One star counts, at the start or the end; at node proxies also in namespaces. Every other is a letter " +
				"that no name has.", nil},
		{"dry-run", Note, "a policy that is only watched",
			"With istio.io/dry-run waypoints count what a policy would do; node proxies do not receive it.",
			[]string{"istio/istio#58657"}},
		{"bypass-pod-ip", Error, "pods behind a waypoint take connections from others than the waypoint",
			"Who dials a pod's address, or comes from outside of the mesh, does not pass the waypoint. Only a policy " +
				"without a target, which the pod's node proxy enforces, can require it: it admits the waypoint's " +
				"account and nobody else.",
			[]string{"istio/istio.io#17520", "istio/istio#56505"}},
		{"bypass-headless", Error, "a headless Service leads past the waypoint",
			"A headless Service resolves to the pods' addresses, and calls to those pass no waypoint.",
			[]string{"istio/istio#58432"}},
		{"bypass-shadow", Error, "a Service without the waypoint leads past it",
			"The waypoint belongs to the Service that is called, not to the pods. A second Service over the same " +
				"pods that opts out leads past the policies of the first.", []string{"istio/istio#44534"}},
		{"bypass-second-service", Error, "a second Service over protected pods has no policy",
			"A waypoint asks the policies of the Service that is called. A second Service over the same pods has " +
				"none of the first one's, and without a default-deny on the Gateway it is open.", nil},
		{"bypass-external", Warning, "a ServiceEntry's host can be called past its waypoint",
			"A ServiceEntry sends to its waypoint who calls its host by name. The host's own address is outside " +
				"of the mesh, and a node proxy passes on what it does not know, whatever outboundTrafficPolicy says: " +
				"who dials it, or asks another name server, is not judged. Only NetworkPolicies that let the " +
				"callers out to the waypoint alone close that.",
			[]string{"istio/istio#54281"}},
		{"refused-by-node-proxy", Note, "a Service leads past the waypoint and is refused at the pods",
			"The pods admit their waypoint only, as they should: calls through this Service cannot work.", nil},
		{"plaintext", Error, "pods take connections without an identity",
			"Without PeerAuthentication STRICT a node proxy takes plaintext from outside of the mesh, and rules that " +
				"name no identity admit it.", []string{"istio/istio.io#15486"}},
		{"no-default-deny", Error, "a waypoint lets everyone through to Services without a policy",
			"Where no ALLOW policy applies, everything is allowed. An ALLOW without rules on the Gateway applies to " +
				"every Service of the waypoint, and is what closes those that nobody thought of.", nil},
		{"ingress-not-through-waypoint", Error, "the gateway goes past the waypoint",
			"A gateway sends requests to the pods unless the Service or its Namespace has " +
				"istio.io/ingress-use-waypoint.", []string{"istio/istio#51214"}},
		{"unknown-principal", Error, "a policy names an identity that nobody has",
			"A principal is TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT, without spiffe://. One whose account does not " +
				"exist admits nobody, or whoever makes that account later.", nil},
		{"whole-cell-callers", Warning, "a rule admits everybody of a namespace",
			"Whoever may start a pod in the namespace, or whatever the pattern matches, is admitted.", nil},
		{"admits-anyone", Warning, "a rule names no caller",
			"A rule without from admits every identity, and one with notPrincipals, notNamespaces or addresses alone " +
				"everybody else, without an identity, too, where plaintext is taken.", nil},
		{"port-not-http", Warning, "a port behind a waypoint is no HTTP to it",
			"A waypoint reads requests on ports that are named http, http2 or grpc, or have such an appProtocol. " +
				"Others carry bytes: ALLOW rules with methods or paths are left out there, and a DENY loses them.",
			nil},
		{"escape-by-decoding", Note, "a path rule that an application which decodes %2f would let escape",
			"Policies compare %2f as it is. An application that decodes it before it routes sees another path than " +
				"the one that was admitted.", []string{"istio/istio#60431", "istio/istio#27409"}},
		{"template-not-loadable", Error, "a path template that Istio takes and Envoy cannot load",
			"Istio's validation takes a template with an empty segment; Envoy refuses the whole listener, or ends " +
				"where it comes while it runs.", nil},
		{"deny-by-path", Warning, "a DENY that another spelling of the path passes",
			"A DENY by path denies one spelling. /%2e, //, another case and %2f are other paths to the proxy and the " +
				"same to many applications.", []string{"tetratelabs/istio-security-analyzer#6"}},
		{"runs-as-gateway", Error, "a workload has the identity of a waypoint or gateway",
			"An identity is a service account. A pod that runs with the waypoint's is the waypoint to every node " +
				"proxy.", nil},
		{"shared-identity", Warning, "two workloads have an identity that a policy trusts",
			"Whatever a policy allows the one, it allows the other: the mesh cannot tell them apart.", nil},
		{"mesh-refused", Error, "a NetworkPolicy keeps the mesh's own port closed",
			"In the mesh every connection arrives on port 15008, whatever port the application listens on. A " +
				"NetworkPolicy that admits the application's port only, at the callee, at the caller's egress or at " +
				"the waypoint, refuses it.",
			[]string{"istio/istio#52742", "istio/ztunnel#1229"}},
		{"hbone-opens-perimeter", Warning, "port 15008 admits whom the NetworkPolicies refuse",
			"Behind port 15008 is every port of the pod. Opened to more peers than the application's port, it makes " +
				"rules by port and source void, unless an AuthorizationPolicy refuses the identity.",
			[]string{"istio/istio#56659", "istio/istio#51034", "defenseunicorns/uds-core#1028"}},
		{"probes-refused", Warning, "a NetworkPolicy refuses the kubelet's probes",
			"istio-cni gives the kubelet's probes of ambient pods the source 169.254.7.127. Many network plugins " +
				"admit the node's own address without being told, and not this one: the pods never become ready.",
			[]string{"istio/istio.io#15281"}},
		{"silence", Warning, "a silence that silences nothing",
			"A comment, an annotation or a file silences a check, and says why. One without a reason, for a check " +
				"that does not exist or finds nothing, is left over.", nil},

		{string(manifest.CodeSyntax), Error, "no YAML", "What cannot be read cannot be applied.", nil},
		{string(manifest.CodeYAMLBoolean), Error, "an unquoted word that YAML reads as a boolean",
			"Kubernetes reads YAML 1.1, in which y, n, yes, no, on and off are booleans: a namespace n is refused, " +
				"or is another one.", nil},
		{string(manifest.CodeDuplicateKey), Error, "a key given twice",
			"The last one counts, or none: kubectl refuses it.", nil},
		{string(manifest.CodeDuplicateObject), Warning, "an object given twice, with different content",
			"Which one is in force depends on what is applied last.", nil},
		{string(manifest.CodeUnknownField), Error, "a field that the kind does not have",
			"The API server refuses it, or leaves it out and enforces the rest: a misspelt notRequestPrincipals " +
				"admits everybody.", nil},
		{string(manifest.CodeInvalid), Error, "a value that admission refuses",
			"The policy is not in force; what was there before is.", nil},
	}
}
