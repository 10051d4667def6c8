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
	ID       string `json:"id"`
	Title    string `json:"title"`
	Story    string `json:"story"`
	Category string `json:"category"`
	Attacker string `json:"attacker"`
	Target   string `json:"target"`
	Request  string `json:"request"`
	Expect   Expect `json:"expect"`
	Control  string `json:"control"`
	// ControlCall is the operator's call that is the live control; nil for an
	// attack whose target no operator reaches.
	ControlCall *OperatorCall `json:"controlCall,omitempty"`
	Spoils      string        `json:"spoils,omitempty"`
	Last        bool          `json:"last,omitempty"`
	Local       string        `json:"local,omitempty"`
	Why         string        `json:"why"`
	Limits      string        `json:"limits"`
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
		s := Summary{
			ID: a.ID, Title: a.Title, Story: a.Story, Category: a.Category, Attacker: a.Attacker, Target: a.Target,
			Request: a.Lines(), Expect: a.Expect, Control: a.Control.String(),
			Spoils: a.Spoils, Last: a.Last, Local: a.Local, Why: a.Why, Limits: a.Limits,
		}
		if call, ok := ControlFor(a.Target); ok {
			s.ControlCall = &call
		}
		out = append(out, s)
	}
	return out
}
