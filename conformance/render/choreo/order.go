package choreo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"artemis.example/conformance/render/cluster"
)

// Namespace is the control-plane namespace: where Projects, Components and
// their bindings are.
const Namespace = "default"

// waitLimit bounds one wait for the platform.
const waitLimit = 3 * time.Minute

// Deploy applies the repository's manifests in the order of openchoreo/apply-order, by
// the function that the deploy script calls, and waits for what they lead to.
func Deploy(ctx context.Context, c *cluster.Cluster) error {
	return Against(ctx, c, ". scripts/lib.sh && follow_order")
}

// Against runs a command in the repository as somebody who may do everything on the
// platform, and returns its failure as its own.
func Against(ctx context.Context, c *cluster.Cluster, command string) error {
	cmd := exec.CommandContext(ctx, "bash", "-c", command)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.Shop.Root, os.Stdout, os.Stderr
	path := c.Shop.Dir + string(os.PathListSeparator) + os.Getenv("PATH")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(cluster.Admin), "KUBE_CONTEXT=", "PATH="+path)
	if err := cmd.Run(); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", command, err), c.Alive())
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
