package telemetry

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestTheGrafanaDashboardAsksForWhatThereIs finds every metric of the dashboard
// among those of a service. Gauges of the mission are its roles' own.
func TestTheGrafanaDashboardAsksForWhatThereIs(t *testing.T) {
	text, err := os.ReadFile("../../k3d/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	descriptions := make(chan *prometheus.Desc, 1000)
	NewMetrics("orion", "guidance-nav", "test").registry.Describe(descriptions)
	close(descriptions)
	var all strings.Builder
	for d := range descriptions {
		all.WriteString(d.String())
	}
	asked := regexp.MustCompile(`artemis_[a-z_]+`).FindAllString(string(text), -1)
	if len(asked) < 5 {
		t.Fatalf("the dashboard asks for %v: that is too little", asked)
	}
	for _, name := range asked {
		if strings.HasPrefix(name, "artemis_mission_") {
			continue
		}
		if !strings.Contains(all.String(), `"`+strings.TrimSuffix(name, "_bucket")+`"`) {
			t.Errorf("no service has %s", name)
		}
	}
}
