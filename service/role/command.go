package role

import (
	"cmp"
	"math"

	"artemis.example/service/endpoint"
	"artemis.example/service/mission"
	"artemis.example/service/problem"
)

// Bounds of what can be commanded.
const (
	maxDeltaVMS   = mission.MaxCorrection // m/s in one burn
	maxTextLength = 500
	maxIDLength   = 64
)

// check says what is wrong with a command, whoever passes it on. Whether it
// can be flown now is for guidance-nav to say.
func (c Command) check() error {
	if err := cmp.Or(
		endpoint.Text("type", c.Type, 40),
		endpoint.OneOf("type", c.Type, courseCorrection, attitude, antenna, crewMessage, telemetryRequest, abort),
		endpoint.AtMost("id", c.ID, maxIDLength),
	); err != nil {
		return err
	}
	for _, field := range []struct {
		name  string
		given bool
		of    string
	}{
		{"deltaV", c.DeltaV != nil, courseCorrection},
		{"rollDeg", c.RollDeg != nil, attitude},
		{"pitchDeg", c.PitchDeg != nil, attitude},
		{"yawDeg", c.YawDeg != nil, attitude},
		{"antenna", c.Antenna != "", antenna},
		{"message", c.Message != "", crewMessage},
		{"reason", c.Reason != "", abort},
	} {
		if field.given && field.of != c.Type {
			return problem.New(problem.OutOfRange, "field %q is not of a command of type %s", field.name,
				c.Type).In(field.name)
		}
	}
	switch c.Type {
	case courseCorrection:
		if err := endpoint.Required("deltaV", c.DeltaV != nil); err != nil {
			return err
		}
		if size := math.Abs(*c.DeltaV); size == 0 || size > maxDeltaVMS {
			return problem.New(problem.OutOfRange, "deltaV: want up to %g m/s either way and not 0, have %g",
				float64(maxDeltaVMS), *c.DeltaV).In("deltaV")
		}
	case attitude:
		if err := endpoint.Required("rollDeg, pitchDeg or yawDeg", c.RollDeg != nil || c.PitchDeg != nil ||
			c.YawDeg != nil); err != nil {
			return err
		}
		for name, angle := range map[string]*float64{"rollDeg": c.RollDeg, "pitchDeg": c.PitchDeg, "yawDeg": c.YawDeg} {
			if angle != nil && math.Abs(*angle) > 180 {
				return problem.New(problem.OutOfRange, "%s: want -180 to 180, have %g", name, *angle).In(name)
			}
		}
	case antenna:
		return endpoint.OneOf("antenna", c.Antenna, highGain, lowGain)
	case crewMessage:
		return endpoint.Text("message", c.Message, maxTextLength)
	case abort:
		return endpoint.AtMost("reason", c.Reason, maxTextLength) // nobody has to give one
	}
	return nil
}

// Orders that a POST without a body stands for.
var (
	smallCorrection = 2.3 // m/s, along the velocity
	bareManeuver    = Command{Type: courseCorrection, DeltaV: &smallCorrection, whenever: true}
	bareUplink      = Command{Type: telemetryRequest}
)
