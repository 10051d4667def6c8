package launcher

import (
	"artemis.example/local/capture"
	"artemis.example/local/capture/netns"
)

// nodeIP is where probes come from.
var nodeIP = netns.NodeIP

func hostPID(n capture.Node, pid int) int { return netns.HostPID(n, pid) }
