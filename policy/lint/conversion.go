package lint

import (
	"fmt"

	"artemis.example/policy/manifest"
	"artemis.example/policy/peerauth"
)

// conversions says which ports istiod's conversion for node proxies leaves otherwise than
// the PeerAuthentications say.
func (c *checker) conversions() {
	for _, s := range peerauth.New("", c.set.PeerAuthentications).Surprises() {
		ports := "the ports that it does not name"
		if s.Port != 0 {
			ports = fmt.Sprintf("port %d", s.Port)
		}
		severity, result := Error, "take plaintext"
		if s.Mode == peerauth.Strict {
			severity, result = Warning, "refuse plaintext"
		}
		c.add(severity, "peerauth-lost", on(manifest.KeyOf(s.Policy)), "%s: the policies say %s, and the pods %s: "+
			"istiod's conversion for node proxies loses it", ports, s.Said, result).Fix = "say the mode in the " +
			"namespace's own PeerAuthentication, and STRICT for the workload with the ports that are to be open"
	}
}
