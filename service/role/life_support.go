package role

import (
	"context"
	"math"
	"sync/atomic"

	"artemis.example/service/endpoint"
	"artemis.example/service/mission"
)

// VitalsAnswer is the crew's.
type VitalsAnswer struct {
	Crew []mission.Vitals `json:"crew"`
}

// Low names what is below a fifth of what was loaded.
func (c Consumables) Low() []string {
	var low []string
	for _, part := range []struct {
		name    string
		percent float64
	}{{"oxygen", c.OxygenPercent}, {"nitrogen", c.NitrogenPercent}, {"water", c.WaterPercent}} {
		if part.percent < 20 {
			low = append(low, part.name)
		}
	}
	return low
}

// lifeSupport keeps the crew alive: its answers follow from the mission time.
func lifeSupport(kit Kit) Program {
	l := &lifeRole{Kit: kit}
	return Program{Endpoints: []endpoint.Endpoint{
		endpoint.Get("/crew/vitals", l.vitals),
		endpoint.Get("/cabin/atmosphere", l.atmosphere),
		endpoint.Get("/consumables", l.consumables),
	}}
}

type lifeRole struct {
	Kit
	chart  chart
	latest atomic.Pointer[sample]
}

// sample is what the suits measured, which they do once in a second of the
// mission.
type sample struct {
	at     float64 // mission time, whole s
	answer VitalsAnswer
}

func (l *lifeRole) vitals(context.Context) (any, error) {
	t := math.Floor(l.now())
	s := l.latest.Load()
	if s == nil || s.at != t {
		s = &sample{t, VitalsAnswer{Crew: vitalsOf(t, l.chart.plan().Load(t), l.Config.Seed)}}
		l.latest.Store(s)
	}
	return s.answer, nil
}

func (l *lifeRole) atmosphere(context.Context) (any, error) {
	air := mission.AirAt(l.now(), l.Config.Seed)
	return mission.Air{
		PressureKPa: round(air.PressureKPa, 2), OxygenKPa: round(air.OxygenKPa, 2), CO2Pa: round(air.CO2Pa, 0),
		TemperatureC: round(air.TemperatureC, 1), HumidityPc: round(air.HumidityPc, 1),
	}, nil
}

func (l *lifeRole) consumables(context.Context) (any, error) {
	return storesOf(l.chart.plan().StoresAt(l.now())), nil
}
