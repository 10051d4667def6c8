package role

import (
	"context"
	"time"

	"artemis.example/service/endpoint"
	"artemis.example/service/mission"
)

// Forecast is the weather to be expected at a time.
type Forecast struct {
	At time.Time `json:"at"`
	mission.Weather
	Violations []string `json:"violations"`
}

// ForecastAnswer is the weather to come.
type ForecastAnswer struct {
	Forecast []Forecast `json:"forecast"`
}

// LaunchCriteria says which launch commit criteria the weather violates.
type LaunchCriteria struct {
	Go         bool     `json:"go"`
	Violations []string `json:"violations"`
}

func (c LaunchCriteria) summary() string {
	if len(c.Violations) == 0 {
		return ""
	}
	return c.Violations[0]
}

// weatherStation watches the sky over Kennedy.
func weatherStation(kit Kit) Program {
	w := &weatherRole{kit}
	return Program{Endpoints: []endpoint.Endpoint{
		endpoint.Get("/conditions", w.conditions),
		endpoint.Get("/forecast", w.forecast),
		endpoint.Get("/launch-criteria", w.criteria),
	}}
}

type weatherRole struct{ Kit }

func rounded(w mission.Weather) mission.Weather {
	return mission.Weather{
		TemperatureC: round(w.TemperatureC, 1), WindMS: round(w.WindMS, 1), GustMS: round(w.GustMS, 1),
		HumidityPc:    round(w.HumidityPc, 0),
		CloudCeilingM: round(w.CloudCeilingM, 0), RainMMH: round(w.RainMMH, 2), LightningKm: round(w.LightningKm, 1),
		UpperWindShear: round(w.UpperWindShear, 2),
	}
}

func (w *weatherRole) conditions(context.Context) (any, error) {
	return rounded(mission.WeatherAt(w.Clock.Now(), w.Config.Seed)), nil
}

func (w *weatherRole) forecast(context.Context) (any, error) {
	a := ForecastAnswer{}
	for hours := 1; hours <= 6; hours++ {
		at := w.Clock.Now().UTC().Add(time.Duration(hours) * time.Hour)
		weather := mission.WeatherAt(at, w.Config.Seed)
		a.Forecast = append(a.Forecast, Forecast{At: at, Weather: rounded(weather), Violations: append([]string{},
			weather.Violations()...)})
	}
	return a, nil
}

func (w *weatherRole) criteria(context.Context) (any, error) {
	violations := append([]string{}, mission.WeatherAt(w.Clock.Now(), w.Config.Seed).Violations()...)
	return LaunchCriteria{Go: len(violations) == 0, Violations: violations}, nil
}
