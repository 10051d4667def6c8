package adversary

import "time"

// List is what there is to play, and who plays, as the console and the launcher
// show it.
type List struct {
	Attacks   []Summary  `json:"attacks"`
	Attackers []Presence `json:"attackers"`
	// Stage is the one in force as the console was told, empty where nobody has
	// told it: a pod of a cluster cannot see it.
	Stage string `json:"stage,omitempty"`
}

// Summary is an attack as people choose it.
type Summary struct {
	Attack
	Request string `json:"request"`
	Control string `json:"control"`
	// ControlCall is the operator's call that is the live control; nil for an
	// attack whose target no operator reaches.
	ControlCall *OperatorCall `json:"controlCall,omitempty"`
}

// Presence is an attacker, and whether its pod phones home.
type Presence struct {
	Attacker
	LastSeen *time.Time `json:"lastSeen,omitempty"`
	Online   bool       `json:"online"`
}

// Summaries returns all attacks in the order of the case file.
func (c *Campaign) Summaries() []Summary {
	out := make([]Summary, 0, len(c.Attacks))
	for _, a := range c.Attacks {
		s := Summary{Attack: a, Request: a.Lines(), Control: a.Control.String()}
		if call, ok := ControlFor(a.Target); ok {
			s.ControlCall = &call
		}
		out = append(out, s)
	}
	return out
}
