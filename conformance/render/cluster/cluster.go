// Package cluster boots a Kubernetes API (etcd and kube-apiserver, nothing
// else) for one run, and applies and reads objects as kubectl does. It knows
// neither OpenChoreo nor Istio.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"

	"artemis.example/conformance/render/engine"
)

// Cluster is a running Kubernetes API.
type Cluster struct {
	*Client
	Shop      *engine.Shop // of the programs that it runs
	Dir       string       // state and logs
	Authority *Authority

	url       string
	identity  map[string]string // user name to token
	processes []*engine.Process
}

// Admin may do everything: what the installing person is on a real cluster.
const Admin = "admin"

// Boot starts a cluster with its state in dir. accounts are the service
// accounts ("namespace:name") that programs outside of it run as.
func Boot(ctx context.Context, shop *engine.Shop, dir string, accounts ...string) (*Cluster, error) {
	c := &Cluster{Shop: shop, Dir: dir, identity: map[string]string{Admin: "admin-token"}}
	if err := c.boot(ctx, accounts); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) boot(ctx context.Context, accounts []string) error {
	var err error
	if err = os.MkdirAll(c.Dir, 0o755); err != nil {
		return fmt.Errorf("make the cluster's directory: %w", err)
	}
	if c.Authority, err = NewAuthority(c.Dir); err != nil {
		return err
	}
	ports, err := FreePorts(3)
	if err != nil {
		return err
	}
	etcdURL, peerURL := "http://127.0.0.1:"+ports[0], "http://127.0.0.1:"+ports[1]
	c.url = "https://127.0.0.1:" + ports[2]
	if err := c.Start(engine.Etcd, nil,
		"--name=render", "--data-dir="+filepath.Join(c.Dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+etcdURL, "--advertise-client-urls="+etcdURL,
		"--listen-peer-urls="+peerURL, "--initial-advertise-peer-urls="+peerURL, "--initial-cluster=render="+
			peerURL); err != nil {
		return err
	}
	cert, key := c.Authority.Cert, c.Authority.Key
	tokens := `admin-token,admin,admin,"system:masters"` + "\n"
	for _, a := range accounts {
		namespace, name, _ := strings.Cut(a, ":")
		user := "system:serviceaccount:" + a
		c.identity[a] = namespace + "-" + name + "-token"
		tokens += fmt.Sprintf("%s,%s,%s,\"system:serviceaccounts,system:serviceaccounts:%s\"\n", c.identity[a], user,
			user, namespace)
	}
	if err := c.writeKubeconfigs(); err != nil {
		return err
	}
	tokenFile := filepath.Join(c.Dir, "tokens.csv")
	if err := os.WriteFile(tokenFile, []byte(tokens), 0o600); err != nil {
		return fmt.Errorf("write the identities: %w", err)
	}
	if err := c.Start(engine.APIServer, nil,
		"--etcd-servers="+etcdURL, "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port="+
			ports[2],
		"--tls-cert-file="+cert, "--tls-private-key-file="+key, "--token-auth-file="+tokenFile,
		"--authorization-mode=RBAC",
		"--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+cert, "--service-account-signing-key-file="+key,
		// No controller manager runs that would give a namespace its default account.
		"--disable-admission-plugins=ServiceAccount"); err != nil {
		return err
	}
	if c.Client, err = NewClient(c.config()); err != nil {
		return err
	}
	return c.Until(ctx, time.Minute, "the Kubernetes API is ready", c.Ready)
}

func (c *Cluster) config() *rest.Config {
	return &rest.Config{
		Host: c.url, BearerToken: c.identity[Admin], QPS: -1, // no throttle: the server is ours alone

		TLSClientConfig: rest.TLSClientConfig{CAData: c.Authority.PEM},
		Proxy:           func(*http.Request) (*url.URL, error) { return nil, nil },
	}
}

// Kubeconfig is the file of the kubeconfig for one of the accounts, or for Admin.
func (c *Cluster) Kubeconfig(identity string) string {
	return filepath.Join(c.Dir, strings.ReplaceAll(identity, ":", "-")+".kubeconfig")
}

func (c *Cluster) writeKubeconfigs() error {
	for identity, token := range c.identity {
		if err := os.WriteFile(c.Kubeconfig(identity), fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
  - name: render
    cluster: {server: %q, certificate-authority: %q}
users:
  - name: user
    user: {token: %q}
contexts:
  - name: render
    context: {cluster: render, user: user}
current-context: render
`, c.url, c.Authority.File, token), 0o600); err != nil {
			return fmt.Errorf("write the kubeconfig of %s: %w", identity, err)
		}
	}
	return nil
}

// Start runs a program until Stop.
func (c *Cluster) Start(p engine.Program, env []string, args ...string) error {
	process, err := engine.Start(p.Name, filepath.Join(c.Dir, p.Name+".log"), env, c.Shop.Path(p), args...)
	if err != nil {
		return err
	}
	c.processes = append(c.processes, process)
	return nil
}

// Until tries ok until it succeeds. It gives up when the time is over or one of
// the cluster's programs has ended.
func (c *Cluster) Until(ctx context.Context, limit time.Duration, what string, ok func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := ok(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err // what is still missing, not that the time is over
		}
		if dead := c.Alive(); dead != nil {
			return fmt.Errorf("wait until %s: %w", what, dead)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) {
				return fmt.Errorf("wait until %s: %w", what, cause)
			}
			return fmt.Errorf("wait until %s: not within %s: %w", what, limit, last)
		}
	}
}

// Alive returns an error with the end of its log for each program that has ended.
func (c *Cluster) Alive() error {
	var dead []error
	for _, p := range c.processes {
		dead = append(dead, p.Alive())
	}
	return errors.Join(dead...)
}

// Stop ends every program, the last started first.
func (c *Cluster) Stop() {
	for i := len(c.processes) - 1; i >= 0; i-- {
		c.processes[i].Stop()
	}
}

// FreePorts returns ports of the loopback interface that nobody listens on, from below
// those that systems give to outgoing connections, of which the Kubernetes API alone
// has more than a hundred: one could be in the way by the time that a program listens.
func FreePorts(n int) ([]string, error) {
	var ports []string
	for _, port := range rand.Perm(12000) {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close()
		_, free, _ := net.SplitHostPort(l.Addr().String())
		if ports = append(ports, free); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("find a free port: there is none between 20000 and 32000")
}
