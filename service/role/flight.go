package role

import (
	"math"
	"time"
)

// This file is the only one that asks the mission model: what follows from the
// mission time, without any I/O.

type phaseInfo struct {
	ID, Title   string
	Correctable bool // a course correction can be flown
	Over        bool // the flight has ended
}

const hour = 3600.0
const duration = 10 * 24 * hour

func phaseAt(t float64, flying bool) phaseInfo {
	switch {
	case !flying:
		return phaseInfo{ID: "pre-launch", Title: "Pre-launch"}
	case t < 500:
		return phaseInfo{ID: "ascent", Title: "Ascent"}
	case t < 24*hour:
		return phaseInfo{ID: "earth-orbit", Title: "High Earth orbit", Correctable: true}
	case t < 96*hour:
		return phaseInfo{ID: "outbound", Title: "Trans-lunar coast", Correctable: true}
	case t < 120*hour:
		return phaseInfo{ID: "flyby", Title: "Lunar flyby", Correctable: true}
	case t < duration-hour:
		return phaseInfo{ID: "return", Title: "Return coast", Correctable: true}
	case t < duration:
		return phaseInfo{ID: "entry", Title: "Entry"}
	}
	return phaseInfo{ID: "splashdown", Title: "Splashdown", Over: true}
}

func (k Kit) phase() phaseInfo {
	t, ok := k.Clock.MissionTime()
	return phaseAt(t, ok)
}

// over tells whether the flight has ended, so that another may begin.
func (k Kit) over() bool { return k.phase().Over }

func planned(t float64) (x, y float64) {
	t = math.Max(0, math.Min(t, duration))
	r := 6371 + 400000*math.Sin(math.Pi*t/duration)
	a := math.Pi * (t/duration - 0.5) * 1.2
	return r * math.Cos(a), r * math.Sin(a)
}

func nominal() []Point {
	points := make([]Point, 0, 241)
	for i := range 241 {
		t := duration * float64(i) / 240
		x, y := planned(t)
		points = append(points, Point{t, x, y})
	}
	return points
}

func moon(t float64) MoonAnswer {
	a := 2 * math.Pi * (t - duration/2) / (27.32 * 24 * hour)
	return MoonAnswer{X: 384400 * math.Cos(a), Y: 384400 * math.Sin(a), OrbitKm: 384400, RadiusKm: 1737.4}
}

func flownAt(t float64, all []Maneuver) (x, y float64) {
	x, y = planned(t)
	for _, m := range all {
		if m.DeltaVMS != 0 && t > m.At {
			x1, y1 := planned(m.At)
			x2, y2 := planned(m.At + 60)
			n := math.Hypot(x2-x1, y2-y1)
			d := m.DeltaVMS / 1000 * (t - m.At)
			x, y = x+d*(x2-x1)/n, y+d*(y2-y1)/n
		}
	}
	return x, y
}

func positionAt(t float64, flying bool, all []Maneuver) Position {
	phase := phaseAt(t, flying)
	p := Position{Phase: phase.ID, PhaseTitle: phase.Title, Mode: mode(all)}
	if flying {
		p.MissionTime = &t
	}
	p.X, p.Y = flownAt(t, all)
	x2, y2 := flownAt(t+1, all)
	m := moon(t)
	p.DistanceEarthKm = math.Hypot(p.X, p.Y)
	p.DistanceMoonKm = math.Hypot(p.X-m.X, p.Y-m.Y)
	p.AltitudeKm = p.DistanceEarthKm - 6371
	p.SpeedKmS = math.Hypot(x2-p.X, y2-p.Y)
	p.OneWayLightTimeS = p.DistanceEarthKm / 299792.458
	return p
}

func specificEnergy(p Position) float64 {
	return p.SpeedKmS*p.SpeedKmS/2*1000 - 398600.4418/p.DistanceEarthKm*1000
}

func deviationKm(p Position) float64 {
	x, y := planned(*p.MissionTime)
	return math.Hypot(p.X-x, p.Y-y)
}

// sky is how a station sees the spacecraft.
type sky struct {
	ElevationDeg, DBm, DataRateBps, PathLossDB float64
	Visible                                    bool
	Reason                                     string
}

func (s *stationRole) look() (sky, bool) {
	t, ok := s.Clock.MissionTime()
	if !ok {
		return sky{}, false
	}
	lon := map[string]float64{"goldstone": -116.9, "madrid": -4.2, "canberra": 149}[s.Service]
	lat := map[string]float64{"goldstone": 35.4, "madrid": 40.4, "canberra": -35.4}[s.Service] * math.Pi / 180
	h := 2*math.Pi*t/86164 + lon*math.Pi/180
	el := math.Asin(math.Cos(lat)*math.Cos(h)) * 180 / math.Pi
	x, y := planned(t)
	d := math.Hypot(x, y)
	loss := 20*math.Log10(d) + 20*math.Log10(2287.5) + 32.45
	return sky{ElevationDeg: el, Visible: el > 6, DBm: 43 + 30 + 56 - loss, DataRateBps: 2e6, PathLossDB: loss, Reason: "below 6 degrees"}, true
}

func starTrackerAt(t float64, flying bool, seed uint64, roll, pitch, yaw float64) StarTracker {
	return StarTracker{RollDeg: roll, PitchDeg: pitch, YawDeg: yaw, Stars: 12, ErrorArcS: 3}
}

func vitalsAt(t float64, seed uint64) []CrewVitals {
	var all []CrewVitals
	for i, name := range []string{"Reid Wiseman", "Victor Glover", "Christina Koch", "Jeremy Hansen"} {
		all = append(all, CrewVitals{Name: name, HeartRateBpm: 68 + 6*math.Sin(t/700+float64(i)), SpO2Percent: 98, TemperatureC: 36.8})
	}
	return all
}

func atmosphereAt(t float64, seed uint64) Atmosphere {
	return Atmosphere{CabinPressureKPa: 101.3, OxygenKPa: 21.2, CO2Pa: 300, TemperatureC: 22}
}

func consumablesAt(t, deltaV float64) Consumables {
	left := 100 * (1 - 0.7*math.Min(1, t/duration))
	return Consumables{left, left, left, 100 - deltaV/6}
}

func moduleAt(t float64, flying bool, deltaV float64, burns int) ServiceModule {
	c := consumablesAt(t, deltaV)
	return ServiceModule{
		Propulsion: &Propulsion{PropellantPercent: c.PropellantPercent, Burns: burns, DeltaVMS: deltaV},
		Solar:      &SolarArrays{PowerW: 11200, Deployed: flying && t > 1200},
		Thermal:    &Thermal{RadiatorC: -10, CabinLoopC: 8},
		Tanks:      &c,
	}
}

// Weather is what the station measures over the pad.
type Weather struct {
	WindMS       float64 `json:"windMs"`
	TemperatureC float64 `json:"temperatureC"`
}

// Forecast is the weather to be expected at a time.
type Forecast struct {
	At time.Time `json:"at"`
	Weather
}

// Propulsion is the service module's engines and tanks.
type Propulsion struct {
	PropellantPercent float64 `json:"propellantPercent"`
	Burns             int     `json:"burns"`
	DeltaVMS          float64 `json:"deltaVMs"`
}

// SolarArrays are its four wings.
type SolarArrays struct {
	PowerW   float64 `json:"powerW"`
	Deployed bool    `json:"deployed"`
}

// Thermal is its cooling.
type Thermal struct {
	RadiatorC  float64 `json:"radiatorC"`
	CabinLoopC float64 `json:"cabinLoopC"`
}

func weatherAt(at time.Time, seed uint64) Weather { return Weather{WindMS: 5, TemperatureC: 24} }

func forecastFrom(at time.Time, seed uint64) []Forecast {
	return []Forecast{{at.Add(time.Hour), weatherAt(at, seed)}}
}

func violationsOf(w Weather) []string { return []string{} }
