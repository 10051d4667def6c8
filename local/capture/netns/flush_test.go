//go:build linux

package netns_test

import (
	"errors"
	"runtime"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// enterOwnUser returns the thread a user namespace of its own with every right in
// it, as `unshare -Ur` does: the most that a pod's program can get hold of. It
// needs a process with one thread, so that it is tried and not required.
func enterOwnUser() { runtime.LockOSThread(); _ = unix.Unshare(unix.CLONE_NEWUSER) }

func flushRules() error {
	enterOwnUser()
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return err
	}
	c.FlushRuleset()
	return c.Flush()
}

func deleteRoutes() error {
	enterOwnUser()
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	routes, err := h.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	if len(routes) == 0 {
		return nil
	}
	var errs []error
	for _, r := range routes {
		errs = append(errs, h.RouteDel(&r))
	}
	return errors.Join(errs...)
}
