package topology

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"
)

// Allocator hands out addresses: 10.244.0.0/16 to pods and 10.96.0.0/16 to
// Services, as clusters commonly do, and 240.240.0.0/16 to the hosts of
// ServiceEntries, as istiod does. An address stays with its name for as long
// as the Allocator lives, whatever comes and goes: a stage switch moves nobody.
// It may be used from many goroutines.
type Allocator struct {
	mu    sync.Mutex
	given map[string]netip.Addr
	// The last that were given.
	pod, vip, entry netip.Addr
}

// NewAllocator returns an Allocator that has given out nothing. The first
// addresses of both ranges are kept for the node, the API server and the name
// server.
func NewAllocator() *Allocator {
	return &Allocator{
		given: map[string]netip.Addr{},
		pod:   netip.AddrFrom4([4]byte{10, 244, 0, 9}),
		vip:   netip.AddrFrom4([4]byte{10, 96, 0, 99}),
		entry: netip.AddrFrom4([4]byte{240, 240, 0, 0}),
	}
}

var errFull = errors.New("no address is left")

// Given returns what was given out so far, for an Allocator in another process.
func (a *Allocator) Given() map[string]netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.given)
}

// Restore returns an Allocator that has given that out: it answers as the one did
// from which it comes, and knows nothing new.
func Restore(given map[string]netip.Addr) *Allocator {
	a := NewAllocator()
	a.given = maps.Clone(given)
	a.pod, a.vip = netip.AddrFrom4([4]byte{10, 244, 255, 250}), netip.AddrFrom4([4]byte{10, 96, 255, 250})
	return a
}

// Pod returns the address of a pod.
func (a *Allocator) Pod(ref Ref) (netip.Addr, error) {
	return a.give("pod/"+ref.String(), &a.pod, netip.MustParsePrefix("10.244.0.0/16"))
}

// Service returns the virtual address of a Service.
func (a *Allocator) Service(ref Ref) (netip.Addr, error) {
	return a.give("service/"+ref.String(), &a.vip, netip.MustParsePrefix("10.96.0.0/16"))
}

// Entry returns the address of a host of a ServiceEntry that has none of its own.
func (a *Allocator) Entry(ref Ref, host string) (netip.Addr, error) {
	return a.give("entry/"+ref.String()+"/"+host, &a.entry, netip.MustParsePrefix("240.240.0.0/16"))
}

func (a *Allocator) give(key string, last *netip.Addr, within netip.Prefix) (netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ip, ok := a.given[key]; ok {
		return ip, nil
	}
	next := last.Next()
	if b := next.As4(); b[3] == 255 { // no broadcast look-alikes
		next = next.Next().Next()
	}
	if !within.Contains(next) {
		return netip.Addr{}, fmt.Errorf("address for %s: %w in %s", key, errFull, within)
	}
	*last = next
	a.given[key] = next
	return next, nil
}
