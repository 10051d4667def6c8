package role

import (
	"time"

	"artemis.example/service/mission"
	"artemis.example/service/trace"
)

// What goes from one service to another is named here once, so that both ends
// read the same.

// Spacecraft modes.
const (
	modeNominal  = "nominal"
	modeAborting = "aborting"
)

// Position is where the spacecraft's own navigation says that it is.
type Position struct {
	MissionTime      *float64 `json:"missionTime"` // s since lift-off; null on the pad
	Phase            string   `json:"phase"`
	PhaseTitle       string   `json:"phaseTitle"`
	Mode             string   `json:"spacecraftMode"`
	X                float64  `json:"x"` // km, Earth-centred, plane of the flight
	Y                float64  `json:"y"`
	VX               float64  `json:"vx"` // km/s
	VY               float64  `json:"vy"`
	LoadG            float64  `json:"loadG"`           // felt acceleration
	DistanceEarthKm  float64  `json:"distanceEarthKm"` // from the centre
	DistanceMoonKm   float64  `json:"distanceMoonKm"`
	AltitudeKm       float64  `json:"altitudeKm"`
	SpeedKmS         float64  `json:"speedKmS"`
	OneWayLightTimeS float64  `json:"oneWayLightTimeS"`
}

// Maneuver is a command that changed the spacecraft's state for good, as
// guidance-nav flew it. Every service on its way remembers it, so that one that
// was restarted gets it back from its neighbours.
type Maneuver struct {
	ID   string `json:"id"`
	Type string `json:"type"` // a course-correction or an abort
	// At is in seconds of mission time.
	At       float64 `json:"at"`
	DeltaVMS float64 `json:"deltaVMs,omitempty"` // m/s, along the velocity
	Reason   string  `json:"reason,omitempty"`
}

// StarTracker is the spacecraft's attitude.
type StarTracker struct {
	RollDeg   float64 `json:"rollDeg"`
	PitchDeg  float64 `json:"pitchDeg"`
	YawDeg    float64 `json:"yawDeg"`
	Stars     int     `json:"starsTracked"`
	ErrorArcS float64 `json:"errorArcSeconds"`
}

// Alert is something that a person should look at.
type Alert struct {
	ID       string    `json:"id"`
	At       time.Time `json:"at"`
	Severity string    `json:"severity"` // info, caution or warning
	Source   string    `json:"source"`
	Text     string    `json:"text"`
}

// Consumables is what the crew lives on; per cent are of the load at lift-off.
type Consumables struct {
	OxygenKg        float64 `json:"oxygenKg"`
	OxygenPercent   float64 `json:"oxygenPercent"`
	NitrogenKg      float64 `json:"nitrogenKg"`
	NitrogenPercent float64 `json:"nitrogenPercent"`
	WaterKg         float64 `json:"waterKg"`
	WaterPercent    float64 `json:"waterPercent"`
}

// Propulsion is the service module's engines and tanks.
type Propulsion struct {
	PropellantKg      float64 `json:"propellantKg"`
	PropellantPercent float64 `json:"propellantPercent"`
	TankPressureBar   float64 `json:"tankPressureBar"`
	// DeltaVMS is what has been spent, the flight's own burns included.
	DeltaVMS float64 `json:"deltaVMs"`
	// Corrections counts those that Houston has seen come down.
	Corrections int `json:"corrections"`
}

// Frame is one telemetry frame. What the spacecraft could not ask in time is
// null and named in Missing.
type Frame struct {
	Sequence    uint64           `json:"seq"`
	SampledAt   time.Time        `json:"sampledAt"`
	Station     string           `json:"station"`
	Signal      *mission.Link    `json:"signal"`
	Position    *Position        `json:"position"`
	Maneuvers   []Maneuver       `json:"maneuvers"`
	StarTracker *StarTracker     `json:"starTracker"`
	Crew        []mission.Vitals `json:"crew"`
	Atmosphere  *mission.Air     `json:"atmosphere"`
	Consumables *Consumables     `json:"consumables"`
	Alerts      []Alert          `json:"alerts"`
	Displays    *Displays        `json:"displays"`
	Missing     []Missing        `json:"missing"`
}

// Missing names a part of the spacecraft that did not answer in time.
type Missing struct {
	Service string `json:"service"`
	Code    string `json:"code"`
}

// CrewMessage is what the crew says to the ground.
type CrewMessage struct {
	ID   string    `json:"id"`
	At   time.Time `json:"at"`
	From string    `json:"from"`
	Text string    `json:"text"`
}

// ServiceModule is what ESA's monitor says of the European Service Module.
type ServiceModule struct {
	Propulsion *Propulsion          `json:"propulsion"`
	Solar      *mission.SolarArrays `json:"solarArrays"`
	Thermal    *mission.Thermal     `json:"thermal"`
	Tanks      *Consumables         `json:"consumables"`
	SampledAt  time.Time            `json:"sampledAt"`
}

// Ingest is what telemetry-monitor takes: one of frame, message and
// serviceModule, with the calls that led to it.
type Ingest struct {
	Frame         *Frame         `json:"frame,omitempty"`
	Message       *CrewMessage   `json:"message,omitempty"`
	ServiceModule *ServiceModule `json:"serviceModule,omitempty"`
	Alert         *Alert         `json:"alert,omitempty"`
	TraceID       string         `json:"traceId,omitempty"`
	Hops          []trace.Hop    `json:"hops,omitempty"`
}

// Ingested is telemetry-monitor's answer. Maneuvers are those that it has seen
// come down: the ground's service module monitor learns of burns by it.
type Ingested struct {
	Status    string     `json:"status"` // recorded, late or duplicate
	LastSeq   uint64     `json:"lastSeq"`
	Maneuvers []Maneuver `json:"maneuvers"`
}
