package campaign

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"artemis.example/adversary"
	"artemis.example/local/capture"
	"artemis.example/service/mission"
)

// flightPause is how often the flight is asked about.
const flightPause = 200 * time.Millisecond

// Fly sees to it that a mission is in flight, as an operator does: without one
// there is nothing to abort and nothing to steer. It launches, if need be, and
// returns when the spacecraft takes commands.
func (s *Suite) Fly(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	last := answer{}
	err := capture.Until(ctx, flightPause, func() (bool, error) {
		flying, err := s.flying(ctx)
		if err != nil || !flying {
			if err == nil {
				// 409 while a count is under way, or until launch-control has
				// heard that the last flight is over.
				last, err = s.ask(ctx, "/launch-control-http/countdown/start", struct{}{})
			}
			return false, err
		}
		last, err = s.ask(ctx, adversary.DirectorPath+"/uplink/command", map[string]any{"type": "attitude",
			"rollDeg": 0})
		return last.status == http.StatusOK, err
	})
	if err != nil {
		return fmt.Errorf("launch a mission (last answer %d %.200s): %w", last.status, last.body, err)
	}
	return nil
}

// flying reports whether there was a lift-off and the flight is not over.
func (s *Suite) flying(ctx context.Context) (bool, error) {
	a, err := s.ask(ctx, adversary.DirectorPath+"/mission/status", nil)
	if err != nil {
		return false, err
	}
	var status struct {
		Phase       string   `json:"phase"`
		MissionTime *float64 `json:"missionTime"`
	}
	if a.status != http.StatusOK || json.Unmarshal(a.body, &status) != nil {
		return false, nil
	}
	over := status.Phase == mission.Splashdown.ID || status.Phase == mission.Lost.ID
	return status.MissionTime != nil && *status.MissionTime > 0 && !over, nil
}
