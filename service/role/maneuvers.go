package role

import (
	"cmp"
	"slices"
	"sync"

	"artemis.example/service/problem"
)

// maxManeuvers bounds what anyone remembers of one flight: the propellant does
// not last for as many.
const maxManeuvers = 32

// maneuvers is the memory of what the spacecraft has flown, in the order of the
// mission time. The zero value is empty; it is safe for concurrent use.
type maneuvers struct {
	mu   sync.Mutex
	list []Maneuver
}

// add takes in those that are not known by their ID, and reports whether any was
// new and fitted.
func (m *maneuvers) add(all ...Maneuver) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	added := false
	for _, one := range all {
		if one.ID == "" || len(m.list) >= maxManeuvers || slices.ContainsFunc(m.list,
			func(k Maneuver) bool { return k.ID == one.ID }) {
			continue
		}
		m.list = append(m.list, one)
		added = true
	}
	if added {
		inOrder(m.list)
	}
	return added
}

// inOrder sorts by mission time. Of one moment an abort is the last: nothing is
// flown after it. Everybody who remembers comes to the same order.
func inOrder(list []Maneuver) []Maneuver {
	last := func(m Maneuver) int {
		if m.Type == abort {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b Maneuver) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(last(a), last(b)), cmp.Compare(a.ID, b.ID))
	})
	return list
}

func (m *maneuvers) all() []Maneuver {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Maneuver{}, m.list...)
}

func (m *maneuvers) find(id string) (Maneuver, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.list, func(k Maneuver) bool { return k.ID == id })
	if i < 0 {
		return Maneuver{}, false
	}
	return m.list[i], true
}

// missingFrom returns those that another does not know.
func (m *maneuvers) missingFrom(known []Maneuver) []Maneuver {
	var missing []Maneuver
	for _, one := range m.all() {
		if !slices.ContainsFunc(known, func(k Maneuver) bool { return k.ID == one.ID }) {
			missing = append(missing, one)
		}
	}
	return missing
}

func (m *maneuvers) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = nil
}

// mode returns the spacecraft's mode: an abort is for the rest of the flight.
func mode(all []Maneuver) string {
	if slices.ContainsFunc(all, func(m Maneuver) bool { return m.Type == abort }) {
		return modeAborting
	}
	return modeNominal
}

// command returns the command that repeats a maneuver.
func (m Maneuver) command() Command {
	c := Command{ID: m.ID, Type: m.Type, Reason: m.Reason, ExecutedAt: &m.At}
	if m.Type == courseCorrection {
		c.DeltaV = &m.DeltaVMS
	}
	return c
}

func endpointNotForOperator(field string) error {
	return problem.New(problem.OutOfRange, "field %q is not for operators", field).In(field)
}
