// Package choreo runs OpenChoreo on a cluster: its controller manager with the
// admission webhooks on, its cluster gateway and its data-plane agent, each
// with the rights that the project's own charts give it. It knows how the
// platform comes up; what is applied to it is in the repository.
package choreo

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"artemis.example/conformance/render/cluster"
	"artemis.example/conformance/render/engine"
)

// The namespaces of an installation by the charts.
const (
	controlPlane = "openchoreo-control-plane"
	dataPlane    = "openchoreo-data-plane"
)

// The service accounts that the charts run the three programs as.
const (
	managerAccount = controlPlane + ":controller-manager"
	gatewayAccount = controlPlane + ":cluster-gateway"
	agentAccount   = dataPlane + ":cluster-agent-dataplane"
)

// Programs are what Boot and Against run.
func Programs() []engine.Program {
	return []engine.Program{engine.Etcd, engine.APIServer, engine.ClusterGateway, engine.ClusterAgent, engine.Manager,
		engine.Kubectl}
}

// Sources are the directories of the modules whose files an installation
// applies.
type Sources struct{ OpenChoreo, GatewayAPI, Istio string }

// FindSources fetches the modules in the versions that the repository pins.
func FindSources(ctx context.Context, shop *engine.Shop) (Sources, error) {
	versions, err := shop.Versions()
	if err != nil {
		return Sources{}, err
	}
	var s Sources
	for _, m := range []struct {
		dir           *string
		path, version string
	}{
		{&s.OpenChoreo, "github.com/openchoreo/openchoreo", versions["OPENCHOREO_MODULE_VERSION"]},
		{&s.GatewayAPI, "sigs.k8s.io/gateway-api", versions["GATEWAY_API_VERSION"]},
		{&s.Istio, "istio.io/istio", versions["ISTIO_MODULE_VERSION"]},
	} {
		if *m.dir, err = shop.Module(ctx, m.path, m.version); err != nil {
			return Sources{}, err
		}
	}
	return s, nil
}

// MeshCRDs applies the kinds of the Gateway API and of Istio.
func (s Sources) MeshCRDs(ctx context.Context, c *cluster.Client) error {
	files, err := filepath.Glob(filepath.Join(s.GatewayAPI, "config", "crd", "standard",
		"gateway.networking.k8s.io_*s.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("find the Gateway API's CRDs in %s: %w", s.GatewayAPI, errors.Join(err, os.ErrNotExist))
	}
	for _, f := range append(files, filepath.Join(s.Istio, "manifests", "charts", "base", "files",
		"crd-all.gen.yaml")) {
		if err := c.ApplyPath(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// Boot starts a cluster in dir and OpenChoreo on it.
func Boot(ctx context.Context, shop *engine.Shop, sources Sources, dir string) (*cluster.Cluster, error) {
	c, err := cluster.Boot(ctx, shop, dir, managerAccount, gatewayAccount, agentAccount)
	if err != nil {
		return nil, err
	}
	if err := install(ctx, c, sources); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func install(ctx context.Context, c *cluster.Cluster, sources Sources) error {
	if err := sources.MeshCRDs(ctx, c.Client); err != nil {
		return err
	}
	helm := filepath.Join(sources.OpenChoreo, "install", "helm")
	if err := c.ApplyPath(ctx, filepath.Join(helm, controlPlane, "crds")); err != nil {
		return err
	}
	for _, ns := range []string{controlPlane, dataPlane} {
		if err := c.Apply(ctx, object("v1", "Namespace", "", ns)); err != nil {
			return err
		}
	}
	// What cert-manager would make; ClusterDataPlane/default names it.
	secret := object("v1", "Secret", dataPlane, "cluster-agent-tls")
	secret.Object["stringData"] = map[string]any{"ca.crt": string(c.Authority.PEM)}
	if err := c.Apply(ctx, secret); err != nil {
		return err
	}
	values := filepath.Join(sources.OpenChoreo, "install", "k3d", "single-cluster")
	rights := []string{"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}
	dp, err := chart(filepath.Join(helm, dataPlane), dataPlane, filepath.Join(values, "values-dp.yaml"),
		map[string]any{"gateway": map[string]any{"gatewayClassName": "istio"}}, append(rights, "Gateway")...)
	if err != nil {
		return err
	}
	// The lean control plane of the demo: no portal, no API server of its own, no gateway of its own.
	cp, err := chart(filepath.Join(helm, controlPlane), controlPlane, filepath.Join(values, "values-cp.yaml"),
		map[string]any{
			"backstage":      map[string]any{"enabled": false},
			"openchoreoApi":  map[string]any{"enabled": false},
			"eventForwarder": map[string]any{"enabled": false},
			"gateway":        map[string]any{"enabled": false, "gatewayClassName": "istio"},
			"features":       map[string]any{"secretManagement": map[string]any{"enabled": false}},
		}, append(rights, "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")...)
	if err != nil {
		return err
	}
	for _, o := range append(dp, cp...) {
		pointAtLoopback(o, c.Authority.PEM)
		if err := c.Apply(ctx, o); err != nil {
			return err
		}
	}
	return run(ctx, c)
}

// The fixed ports of OpenChoreo's programs.
const (
	webhookPort = "9443"
	healthPort  = "8080" // the cluster gateway's
)

func run(ctx context.Context, c *cluster.Cluster) error {
	for _, port := range []string{webhookPort, healthPort} {
		l, err := net.Listen("tcp", ":"+port)
		if err != nil {
			return fmt.Errorf("OpenChoreo's programs need port %s, which is fixed: %w", port, err)
		}
		l.Close()
	}
	ports, err := cluster.FreePorts(3)
	if err != nil {
		return err
	}
	public, internal, health := ports[0], ports[1], ports[2]
	cert, key := c.Authority.Cert, c.Authority.Key
	if err := c.Start(engine.ClusterGateway, []string{"KUBECONFIG=" + c.Kubeconfig(gatewayAccount)},
		"--port="+public, "--internal-port="+internal, "--server-cert="+cert, "--server-key="+key,
		"--internal-mtls=false"); err != nil {
		return err
	}

	// The manager reads its webhook certificate from a fixed folder under TMPDIR.
	serving := filepath.Join(c.Dir, "k8s-webhook-server", "serving-certs")
	if err := os.MkdirAll(serving, 0o755); err != nil {
		return fmt.Errorf("start the manager: %w", err)
	}
	if err := errors.Join(os.Link(cert, filepath.Join(serving, "tls.crt")),
		os.Link(key, filepath.Join(serving, "tls.key"))); err != nil {
		return fmt.Errorf("start the manager: %w", err)
	}
	if err := c.Start(engine.Manager, []string{"KUBECONFIG=" + c.Kubeconfig(managerAccount), "TMPDIR=" + c.Dir,
		"ENABLE_WEBHOOKS=true"},
		"--cluster-gateway-url=https://localhost:"+internal, "--cluster-gateway-ca-cert="+c.Authority.File,
		"--health-probe-bind-address=:"+health); err != nil {
		return err
	}

	if err := c.Start(engine.ClusterAgent, nil,
		"--kubeconfig="+c.Kubeconfig(agentAccount), "--server-url=wss://localhost:"+public+"/ws",
		"--plane-type=dataplane", "--plane-id=default",
		"--client-cert="+cert, "--client-key="+key, "--server-ca="+c.Authority.File,
		"--reconnect-delay=500ms"); err != nil {
		return err
	}
	return c.Until(ctx, time.Minute, "OpenChoreo's manager and webhooks are ready", func(ctx context.Context) error {
		if err := ok(ctx, "http://localhost:"+health+"/readyz"); err != nil {
			return err
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", "127.0.0.1:"+webhookPort)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func ok(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy from the environment
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

// pointAtLoopback makes a webhook configuration of the chart call the manager
// where it runs here, outside of the cluster.
func pointAtLoopback(o *unstructured.Unstructured, ca []byte) {
	webhooks, found, _ := unstructured.NestedSlice(o.Object, "webhooks")
	if !found {
		return
	}
	for _, w := range webhooks {
		w := w.(map[string]any)
		path, _, _ := unstructured.NestedString(w, "clientConfig", "service", "path")
		w["clientConfig"] = map[string]any{
			"url":      "https://127.0.0.1:" + webhookPort + path,
			"caBundle": base64.StdEncoding.EncodeToString(ca),
		}
	}
	o.Object["webhooks"] = webhooks
}

func object(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{}}
	o.SetGroupVersionKind(schema.FromAPIVersionAndKind(apiVersion, kind))
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}
