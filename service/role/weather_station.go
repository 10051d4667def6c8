package role

import (
	"context"

	"artemis.example/service/endpoint"
)

// WeatherAnswer is the weather over the pad.
type WeatherAnswer struct {
	Weather
}

// ForecastAnswer is the weather to come.
type ForecastAnswer struct {
	Forecast []Forecast `json:"forecast"`
}

// LaunchCriteria tells which launch commit criteria the weather violates.
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

func (w *weatherRole) conditions(context.Context) (any, error) {
	return WeatherAnswer{weatherAt(w.Clock.Now(), w.Config.Seed)}, nil
}

func (w *weatherRole) forecast(context.Context) (any, error) {
	return ForecastAnswer{Forecast: forecastFrom(w.Clock.Now(), w.Config.Seed)}, nil
}

func (w *weatherRole) criteria(context.Context) (any, error) {
	violations := violationsOf(weatherAt(w.Clock.Now(), w.Config.Seed))
	return LaunchCriteria{Go: len(violations) == 0, Violations: violations}, nil
}
