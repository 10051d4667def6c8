package mesh

import (
	"context"
	"net"
	"net/http"
	"net/netip"

	"artemis.example/local/capture"
	"artemis.example/local/hbone"
	"artemis.example/local/world"
)

type state struct {
	stage string
	world *world.World
	ready *readiness
}
type readiness struct{}

func (*readiness) set(world.Ref) {}

func compile(string, *world.World, *state) *state { return nil }

type tracker struct{}

func (*tracker) judge(*state) {}

type nodeProxy struct{}

func (*nodeProxy) close() {}
func (*nodeProxy) start() {}

type waypoint struct{}

func (*waypoint) stop()        {}
func (*waypoint) start() error { return nil }

type gateway struct{}

func newGateway(*Mesh) *gateway { return nil }

func (*gateway) applied()                                                {}
func (*gateway) close() error                                            { return nil }
func (*gateway) serve(net.Listener, http.Handler) error                  { return nil }
func (*gateway) ServeHTTP(http.ResponseWriter, *http.Request)            {}
func (m *Mesh) startWaypoints(*world.World, *state) error                { return nil }
func (m *Mesh) newNodeProxy(*world.Pod, capture.Pod) (*nodeProxy, error) { return nil, nil }

func (m *Mesh) dialHBONE(ctx context.Context, src netip.Addr, dst netip.AddrPort) (net.Conn, error) {
	return m.cfg.Node.Dial(ctx, src, dst)
}

var _ = hbone.NewPool
