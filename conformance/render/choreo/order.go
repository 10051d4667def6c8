package choreo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"artemis.example/conformance/render/cluster"
)

// Namespace is the control-plane namespace: where Projects, Components and
// their bindings are.
const Namespace = "default"

// Step is one line of openchoreo/apply-order.
type Step struct {
	Verb string // "apply" or "wait"
	Args []string
}

// Order reads openchoreo/apply-order, the order that the deploy script follows
// too.
func Order(root string) ([]Step, error) {
	file := filepath.Join(root, "openchoreo", "apply-order")
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the apply order: %w", err)
	}
	var steps []Step
	n := 0
	for line := range strings.Lines(string(raw)) {
		n++
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || strings.HasPrefix(f[0], "#"):
		case len(f) == 2 && f[0] == "apply", len(f) == 3 && f[0] == "wait":
			steps = append(steps, Step{f[0], f[1:]})
		default:
			return nil, fmt.Errorf("%s:%d: neither \"apply PATH\" nor \"wait KIND CONDITION\": %q", file, n,
				strings.TrimSpace(line))
		}
	}
	return steps, nil
}

// waitLimit bounds one wait of the order.
const waitLimit = 3 * time.Minute

// Deploy follows the order: it applies the repository's manifests and waits for
// what they lead to.
func Deploy(ctx context.Context, c *cluster.Cluster, root string, steps []Step) error {
	for _, s := range steps {
		switch s.Verb {
		case "apply":
			if err := c.ApplyPath(ctx, filepath.Join(root, s.Args[0])); err != nil {
				return err
			}
		case "wait":
			what := fmt.Sprintf("all %s are %s", s.Args[0], s.Args[1])
			if err := c.Until(ctx, waitLimit, what, func(ctx context.Context) error {
				return allHave(ctx, c, s.Args[0], s.Args[1])
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// allHave returns an error naming an object without the condition and the reason
// that its controller states.
func allHave(ctx context.Context, c *cluster.Cluster, kind, condition string) error {
	gvk, err := c.Resource(kind)
	if err != nil {
		return err
	}
	objects, err := c.List(ctx, gvk, Namespace)
	if err != nil {
		return err
	}
	if len(objects) == 0 {
		return fmt.Errorf("there is no %s yet", kind)
	}
	for i := range objects {
		status, why := Condition(&objects[i], condition)
		if status != "True" {
			return fmt.Errorf("%s: %s", cluster.Name(&objects[i]), why)
		}
	}
	return nil
}

// Condition returns the status of an object's condition, "" when it is missing or
// older than the object, and everything that the object's conditions complain
// about.
func Condition(o *unstructured.Unstructured, name string) (status, why string) {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	var complaints []string
	for _, raw := range conditions {
		c, _ := raw.(map[string]any)
		if c["type"] == name {
			generation, given := c["observedGeneration"].(int64)
			if !given || generation >= o.GetGeneration() {
				status, _ = c["status"].(string)
			}
		}
		if c["status"] != "True" {
			complaints = append(complaints, fmt.Sprintf("%v=%v %v: %v", c["type"], c["status"], c["reason"],
				c["message"]))
		}
	}
	// A ReleaseBinding's condition only counts them.
	pending, _, _ := unstructured.NestedSlice(o.Object, "status", "pendingConnections")
	for _, raw := range pending {
		p, _ := raw.(map[string]any)
		complaints = append(complaints, fmt.Sprintf("dependency %v/%v, endpoint %v: %v", p["project"], p["component"],
			p["endpoint"], p["reason"]))
	}
	return status, strings.Join(complaints, "; ")
}
