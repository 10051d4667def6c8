package mission

import (
	"math"
	"math/rand/v2"
)

// wave is a smooth, seeded wandering between -1 and 1: three sines of unrelated
// periods, so that it never repeats within a flight. t and period in s.
func wave(seed uint64, name string, t, period float64) float64 {
	h := uint64(14695981039346656037)
	for _, c := range []byte(name) {
		h = (h ^ uint64(c)) * 1099511628211 // FNV-1a
	}
	// As rand.Rand draws its Float64 from a source, without a place on the heap
	// for either.
	var source rand.PCG
	source.Seed(seed, h)
	sum := 0.0
	for i, share := range [3]float64{0.6, 0.27, 0.13} {
		sum += share * math.Sin(2*math.Pi*(t/(period/(1+1.618*float64(i)))+float64(source.Uint64()<<11>>11)/(1<<53)))
	}
	return sum
}

// Vitals is one crew member as the suit measures.
type Vitals struct {
	Name         string  `json:"name"`
	HeartRateBpm float64 `json:"heartRateBpm"`  // 50 to 150
	SpO2Percent  float64 `json:"spO2Percent"`   // 94 to 100
	TemperatureC float64 `json:"temperatureC"`  // 36 to 37.9
	BreathsMin   float64 `json:"breathsPerMin"` // 10 to 30
}

// Crew returns the four names of the crew.
func Crew() []string {
	return []string{"Reid Wiseman", "Victor Glover", "Christina Koch", "Jeremy Hansen"}
}

// VitalsOf returns the crew's vitals at a mission time and the acceleration that
// they feel in g: hearts beat faster under load, and slower in the night of
// Houston's clock.
func VitalsOf(t, g float64, seed uint64) []Vitals {
	rest := [4]float64{61, 64, 58, 62}
	asleep := math.Max(0, math.Sin(2*math.Pi*(t/86400-0.45)))
	strain := math.Min(1, math.Max(0, g-0.1)/4)
	all := make([]Vitals, 0, 4)
	for i, name := range Crew() {
		all = append(all, Vitals{
			Name:         name,
			HeartRateBpm: rest[i] + 6*wave(seed, name+"heart", t, 900) - 7*asleep + 70*strain,
			SpO2Percent:  math.Min(100, 97.6+0.9*wave(seed, name+"oxygen", t, 5400)-1.2*strain),
			TemperatureC: 36.8 + 0.25*wave(seed, name+"warmth", t, 21600) - 0.2*asleep + 0.4*strain,
			BreathsMin:   14 + 1.5*wave(seed, name+"breath", t, 600) - 2*asleep + 11*strain,
		})
	}
	return all
}

// Load is what the crew feels, in g: what is not free fall. It follows from the
// flight itself, by the difference between its motion and that of a body under
// Earth and Moon alone.
func (f *Flight) Load(t float64) float64 {
	if t <= 0 || t >= f.end {
		return 1
	}
	const d = 1.0
	a, b := f.At(math.Max(0, t-d)), f.At(math.Min(t+d, f.end))
	s := f.At(t)
	k := motion(t, [4]float64{s.X, s.Y, s.VX, s.VY}, thrust{})
	span := b.T - a.T
	felt := math.Hypot((b.VX-a.VX)/span-k[2], (b.VY-a.VY)/span-k[3]) * 1000 / 9.80665
	return math.Min(felt, 12)
}

// Stores is what runs down, of four people and their ship.
type Stores struct {
	OxygenKg     float64 // of 60
	NitrogenKg   float64 // of 30
	WaterKg      float64 // of 240; fuel cells have gone, what is drunk is gone
	PropellantKg float64 // of 8,600, the service module's
}

// full is what is on board at lift-off (European Service Module, ESA's figures
// in round numbers).
var full = Stores{OxygenKg: 60, NitrogenKg: 30, WaterKg: 240, PropellantKg: 8600}

// StoresAt returns what is left. Each person takes 0.84 kg of oxygen and 2.9 kg of
// water a day (NASA, Baseline Values and Assumptions, table 3.31); the burns
// take propellant by the rocket equation.
func (f *Flight) StoresAt(t float64) Stores {
	days := math.Max(0, math.Min(t, f.end)) / 86400
	s := full
	s.OxygenKg -= 4*0.84*days + 0.3*days // and leaks
	s.WaterKg -= 4 * 2.9 * days
	s.NitrogenKg -= 0.9 * days
	s.PropellantKg = full.PropellantKg - propellantFor(f.DeltaV(t))
	return s
}

// DeltaV is what the service module has spent by t, in m/s: the injection, the
// corrections of the crew and those that the flight makes of its own accord.
func (f *Flight) DeltaV(t float64) float64 {
	sum := 0.0
	for _, b := range f.burns {
		if t > b.from {
			sum += b.deltaV * math.Min(1, (t-b.from)/(b.to-b.from))
		}
	}
	return sum
}

// propellantFor a change of speed in m/s, of a ship of 26,000 kg with an engine
// of 316 s (Tsiolkovsky).
func propellantFor(deltaV float64) float64 {
	return 26000 * (1 - math.Exp(-deltaV/(316*9.80665)))
}

// Percent returns the stores in per cent of the load at lift-off.
func (s Stores) Percent() (oxygen, nitrogen, water, propellant float64) {
	return 100 * s.OxygenKg / full.OxygenKg, 100 * s.NitrogenKg / full.NitrogenKg, 100 * s.WaterKg / full.WaterKg,
		100 * s.PropellantKg / full.PropellantKg
}

// Air is the atmosphere of the cabin.
type Air struct {
	// PressureKPa is 101.3 on the pad; 70.3 in flight would be possible, Orion keeps sea level.
	PressureKPa  float64 `json:"pressureKPa"`
	OxygenKPa    float64 `json:"oxygenKPa"`
	CO2Pa        float64 `json:"co2Pa"` // under 530, the limit of NASA-STD-3001
	TemperatureC float64 `json:"temperatureC"`
	HumidityPc   float64 `json:"humidityPercent"`
}

// AirAt returns the cabin's air.
func AirAt(t float64, seed uint64) Air {
	return Air{
		PressureKPa:  101.3 + 0.3*wave(seed, "pressure", t, 14400),
		OxygenKPa:    21.2 + 0.2*wave(seed, "oxygen", t, 9000),
		CO2Pa:        290 + 60*wave(seed, "co2", t, 5400),
		TemperatureC: 22 + 0.8*wave(seed, "cabin", t, 21600),
		HumidityPc:   45 + 5*wave(seed, "humidity", t, 18000),
	}
}

// Module is the European Service Module.
type Module struct {
	Solar        SolarArrays
	Thermal      Thermal
	TankPressure float64 // bar, helium over propellant
}

// SolarArrays are its four wings.
type SolarArrays struct {
	PowerW         float64 `json:"powerW"`   // 11.2 kW in the sun (ESA)
	Deployed       bool    `json:"deployed"` // about 20 minutes after lift-off
	BatteryPercent float64 `json:"batteryPercent"`
}

// Thermal is its cooling.
type Thermal struct {
	RadiatorC float64 `json:"radiatorC"`
	CoolantC  float64 `json:"coolantC"`
}

// ModuleAt returns the service module's state: without sun in Earth's shadow.
func (f *Flight) ModuleAt(t float64, seed uint64) Module {
	s := f.At(t)
	m := Module{TankPressure: 17.5 + 0.3*wave(seed, "tank", t, 30000)}
	// The Sun stands on the negative y axis; it moves by nine degrees in the flight.
	dark := s.Y > 0 && math.Abs(s.X) < EarthRadius
	m.Solar.Deployed = t > 1200 && t < f.entry-1800
	if m.Solar.Deployed && !dark {
		m.Solar.PowerW = 11200 * (0.985 + 0.015*wave(seed, "sun", t, 50000))
	}
	m.Solar.BatteryPercent = 96 + 3*wave(seed, "battery", t, 20000)
	m.Thermal.RadiatorC = -12 + 6*wave(seed, "radiator", t, 26000)
	m.Thermal.CoolantC = 7 + 1.5*wave(seed, "coolant", t, 15000)
	if dark {
		m.Solar.BatteryPercent -= 14
		m.Thermal.RadiatorC -= 18
	}
	return m
}

// Stars is what the star tracker sees.
type Stars struct {
	Tracked        int
	ErrorArcSecond float64
}

// StarsAt returns what the star tracker sees: nothing on the way up and down, which
// blind it.
func (f *Flight) StarsAt(t float64, seed uint64) Stars {
	switch f.Phase(t) {
	case PreLaunch, Ascent, Entry, Splashdown:
		return Stars{}
	}
	return Stars{Tracked: 14 + int(math.Round(5*wave(seed, "stars", t, 3600))), ErrorArcSecond: 4 +
		2*math.Abs(wave(seed, "tracker", t, 1800))}
}
