package telemetry

import (
	"net/http"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are a service's own. Every label has a bounded set of values: routes
// are those of the catalog, peers the declared dependencies, codes the closed
// set of statuses and problems.
type Metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	calls     *prometheus.CounterVec
	callTimes *prometheus.HistogramVec
}

// NewMetrics makes the metrics of one service, of the binary of that version.
func NewMetrics(cell, service, version string) *Metrics {
	labels := prometheus.Labels{"service": service, "cell": cell}
	buckets := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registered := promauto.With(registry)
	registered.NewGauge(prometheus.GaugeOpts{
		Name: "artemis_build_info", Help: "Always 1; the labels say what was built.",
		ConstLabels: prometheus.Labels{"service": service, "cell": cell, "version": version,
			"goversion": runtime.Version()},
	}).Set(1)
	return &Metrics{
		registry: registry,
		requests: registered.NewCounterVec(prometheus.CounterOpts{
			Name: "artemis_http_requests_total", Help: "Requests answered on the mission port.", ConstLabels: labels,
		}, []string{"method", "route", "status"}),
		durations: registered.NewHistogramVec(prometheus.HistogramOpts{
			Name: "artemis_http_request_duration_seconds", Help: "Time to answer a request.", ConstLabels: labels,
			Buckets: buckets,
		}, []string{"method", "route"}),
		calls: registered.NewCounterVec(prometheus.CounterOpts{
			Name: "artemis_peer_calls_total", Help: "Calls made to peers; result is ok or a problem code.",
			ConstLabels: labels,
		}, []string{"peer", "method", "route", "result"}),
		callTimes: registered.NewHistogramVec(prometheus.HistogramOpts{
			Name: "artemis_peer_call_duration_seconds", Help: "Time until a peer had answered.", ConstLabels: labels,
			Buckets: buckets,
		}, []string{"peer"}),
	}
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// Gauge registers a gauge of the mission that is read when scraped.
func (m *Metrics) Gauge(name, help string, read func() float64) {
	promauto.With(m.registry).NewGaugeFunc(prometheus.GaugeOpts{Name: "artemis_mission_" + name, Help: help}, read)
}

// Route measures the requests of one route.
type Route struct {
	metrics       *Metrics
	method, route string
	duration      prometheus.Observer
	byStatus      [600]atomic.Pointer[prometheus.Counter]
}

// Route prepares the measurement of a route, so that a request costs no lookup.
func (m *Metrics) Route(method, route string) *Route {
	return &Route{metrics: m, method: method, route: route, duration: m.durations.WithLabelValues(method, route)}
}

// Observe counts one answered request.
func (r *Route) Observe(status int, took time.Duration) {
	if status < 0 || status >= len(r.byStatus) {
		status = 0
	}
	counter := r.byStatus[status].Load()
	if counter == nil {
		c := r.metrics.requests.WithLabelValues(r.method, r.route, strconv.Itoa(status))
		r.byStatus[status].Store(&c)
		counter = &c
	}
	(*counter).Inc()
	r.duration.Observe(took.Seconds())
}

// Call counts one call to a peer.
func (m *Metrics) Call(peer, method, route, result string, took time.Duration) {
	m.calls.WithLabelValues(peer, method, route, result).Inc()
	m.callTimes.WithLabelValues(peer).Observe(took.Seconds())
}
