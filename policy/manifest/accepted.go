package manifest

import (
	"fmt"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// acceptedFields lists, per kind, every field that local mode understands. Whatever
// is not in it is refused by name, so that nothing is ignored silently. In a
// path, [] is any element, * any key, ** anything below.
//
// Fields that mean something to a cluster only, and whose absence changes no
// decision and no answer here, are accepted too.
const acceptedFields = `
Namespace

ServiceAccount
automountServiceAccountToken

ConfigMap
data.*

Deployment
spec.replicas
spec.selector.**
spec.template.metadata.labels.*
spec.template.metadata.annotations.*
spec.template.spec.serviceAccountName
spec.template.spec.terminationGracePeriodSeconds
spec.template.spec.containers[].name
spec.template.spec.containers[].image
spec.template.spec.containers[].command[]
spec.template.spec.containers[].args[]
spec.template.spec.containers[].ports[].**
spec.template.spec.containers[].env[].name
spec.template.spec.containers[].env[].value
spec.template.spec.containers[].envFrom[].configMapRef.name
spec.template.spec.containers[].startupProbe.**
spec.template.spec.containers[].readinessProbe.**
spec.template.spec.containers[].livenessProbe.**
spec.template.spec.containers[].volumeMounts[].name
spec.template.spec.containers[].volumeMounts[].mountPath
spec.template.spec.volumes[].name
spec.template.spec.volumes[].emptyDir.**
spec.progressDeadlineSeconds
spec.revisionHistoryLimit
spec.minReadySeconds
spec.strategy.**
spec.template.spec.automountServiceAccountToken
spec.template.spec.enableServiceLinks
spec.template.spec.securityContext.**
spec.template.spec.restartPolicy
spec.template.spec.containers[].imagePullPolicy
spec.template.spec.containers[].resources.**
spec.template.spec.containers[].securityContext.**
spec.template.spec.containers[].terminationMessagePath
spec.template.spec.containers[].terminationMessagePolicy

Service
spec.type
spec.clusterIP
spec.selector.*
spec.ports[].name
spec.ports[].port
spec.ports[].protocol
spec.ports[].targetPort
spec.ports[].appProtocol

NetworkPolicy
spec.podSelector.**
spec.policyTypes[]
spec.ingress[].**
spec.egress[].**

Gateway
spec.gatewayClassName
spec.infrastructure.labels.*
spec.infrastructure.annotations.*
spec.listeners[].name
spec.listeners[].port
spec.listeners[].protocol
spec.listeners[].hostname
spec.listeners[].allowedRoutes.namespaces.from

HTTPRoute
spec.parentRefs[].group
spec.parentRefs[].kind
spec.parentRefs[].name
spec.parentRefs[].namespace
spec.hostnames[]
spec.rules[].matches[].path.type
spec.rules[].matches[].path.value
spec.rules[].filters[].type
spec.rules[].filters[].urlRewrite.path.type
spec.rules[].filters[].urlRewrite.path.replacePrefixMatch
spec.rules[].backendRefs[].group
spec.rules[].backendRefs[].kind
spec.rules[].backendRefs[].name
spec.rules[].backendRefs[].namespace
spec.rules[].backendRefs[].port

AuthorizationPolicy
spec.action
spec.selector.matchLabels.*
spec.targetRef.**
spec.targetRefs[].**
spec.rules[].from[].source.principals[]
spec.rules[].from[].source.notPrincipals[]
spec.rules[].from[].source.namespaces[]
spec.rules[].from[].source.notNamespaces[]
spec.rules[].from[].source.serviceAccounts[]
spec.rules[].from[].source.notServiceAccounts[]
spec.rules[].from[].source.trustDomains[]
spec.rules[].from[].source.notTrustDomains[]
spec.rules[].from[].source.ipBlocks[]
spec.rules[].from[].source.notIpBlocks[]
spec.rules[].from[].source.remoteIpBlocks[]
spec.rules[].from[].source.notRemoteIpBlocks[]
spec.rules[].to[].operation.methods[]
spec.rules[].to[].operation.notMethods[]
spec.rules[].to[].operation.paths[]
spec.rules[].to[].operation.notPaths[]
spec.rules[].to[].operation.hosts[]
spec.rules[].to[].operation.notHosts[]
spec.rules[].to[].operation.ports[]
spec.rules[].to[].operation.notPorts[]
spec.rules[].when[].key
spec.rules[].when[].values[]
spec.rules[].when[].notValues[]

PeerAuthentication
spec.selector.matchLabels.*
spec.mtls.mode
spec.portLevelMtls.*.mode
`

// acceptedMetadata is accepted for every kind. What only an API server writes
// is not part of a manifest.
const acceptedMetadata = `
apiVersion
kind
metadata.name
metadata.namespace
metadata.labels.*
metadata.annotations.*
metadata.creationTimestamp
`

// fieldTree is a compiled list of accepted paths.
type fieldTree struct {
	all      bool
	children map[string]*fieldTree
}

func (t *fieldTree) add(path string) {
	path = strings.ReplaceAll(path, "[]", ".[]")
	for segment := range strings.SplitSeq(path, ".") {
		if segment == "**" {
			t.all = true
			return
		}
		next := t.children[segment]
		if next == nil {
			next = &fieldTree{children: map[string]*fieldTree{}}
			t.children[segment] = next
		}
		t = next
	}
}

// acceptedTrees returns the tree of each kind that local mode implements.
var acceptedTrees = sync.OnceValue(func() map[string]*fieldTree {
	trees := map[string]*fieldTree{}
	for block := range strings.SplitSeq(strings.TrimSpace(acceptedFields), "\n\n") {
		kind, fields, _ := strings.Cut(block, "\n")
		t := &fieldTree{children: map[string]*fieldTree{}}
		for path := range strings.FieldsSeq(acceptedMetadata + fields) {
			t.add(path)
		}
		trees[kind] = t
	}
	return trees
})

// refuse reports every field of a node that is not in the tree.
func (t *fieldTree) refuse(n *yaml.Node, path string, fault func(line int, path string)) {
	if t.all || n == nil {
		return
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			if k.ShortTag() == "!!merge" {
				continue // reported as such
			}
			child := k.Value
			if path != "" {
				child = path + "." + k.Value
			}
			next := t.children[k.Value]
			if next == nil {
				next = t.children["*"]
			}
			if next == nil {
				fault(k.Line, child)
				continue
			}
			next.refuse(v, child, fault)
		}
	case yaml.SequenceNode:
		next := t.children["[]"]
		for i, c := range n.Content {
			child := fmt.Sprintf("%s[%d]", path, i)
			if next == nil {
				fault(c.Line, child)
				continue
			}
			next.refuse(c, child, fault)
		}
	}
}
