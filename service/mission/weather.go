package mission

import (
	"fmt"
	"math"
	"time"
)

// Weather is what the station measures over the pad.
type Weather struct {
	TemperatureC   float64 `json:"temperatureC"`
	WindMS         float64 `json:"windMs"` // at the tower, 60 m
	GustMS         float64 `json:"gustMs"`
	HumidityPc     float64 `json:"humidityPercent"`
	CloudCeilingM  float64 `json:"cloudCeilingM"`
	RainMMH        float64 `json:"rainMmH"`
	LightningKm    float64 `json:"lightningKm"`    // distance of the nearest; more than 50 means none
	UpperWindShear float64 `json:"upperWindShear"` // m/s per km
}

// WeatherAt returns the weather over Kennedy at a time of the day, in a season
// that the seed decides: fair in most, stormy in one of eight.
func WeatherAt(at time.Time, seed uint64) Weather {
	t := float64(at.Unix()%(365*86400)) + float64(at.Nanosecond())/1e9
	day := math.Sin(2 * math.Pi * (t/86400 - 0.58)) // warmest in the afternoon of Florida
	storm := 0.0
	if seed%8 == 5 {
		storm = 0.55 + 0.45*wave(seed, "storm", t, 40000)
	}
	w := Weather{
		TemperatureC:   21 + 4*day + 1.5*wave(seed, "air", t, 30000),
		WindMS:         5.5 + 2.5*wave(seed, "wind", t, 7000) + 16*storm,
		HumidityPc:     66 - 9*day + 6*wave(seed, "damp", t, 20000) + 20*storm,
		CloudCeilingM:  math.Max(150, 2600+900*wave(seed, "cloud", t, 25000)-2500*storm),
		RainMMH:        math.Max(0, 9*storm-1),
		LightningKm:    math.Max(1, 80+20*wave(seed, "lightning", t, 9000)-95*storm),
		UpperWindShear: 6 + 3*wave(seed, "shear", t, 28000) + 12*storm,
	}
	w.HumidityPc = math.Min(100, w.HumidityPc)
	w.GustMS = w.WindMS * (1.25 + 0.1*wave(seed, "gust", t, 300))
	return w
}

// Violations returns the launch commit criteria that the weather breaks, each in
// words with figure and limit; none means go. The limits follow NASA's Artemis
// launch weather criteria in round numbers.
func (w Weather) Violations() []string {
	broken := []string{}
	check := func(bad bool, format string, args ...any) {
		if bad {
			broken = append(broken, fmt.Sprintf(format, args...))
		}
	}
	check(w.GustMS > 20, "gusts of %.1f m/s at the tower, the limit is 20", w.GustMS)
	check(w.TemperatureC < 3.3 || w.TemperatureC > 34.7, "%.1f °C, the limits are 3.3 and 34.7", w.TemperatureC)
	check(w.RainMMH > 0.5, "%.1f mm/h of rain on the way up, the limit is 0.5", w.RainMMH)
	check(w.LightningKm < 18.5, "lightning at %.1f km, the limit is 18.5", w.LightningKm)
	check(w.CloudCeilingM < 600, "a cloud ceiling of %.0f m, the limit is 600", w.CloudCeilingM)
	check(w.UpperWindShear > 15, "a wind shear aloft of %.1f m/s per km, the limit is 15", w.UpperWindShear)
	return broken
}
