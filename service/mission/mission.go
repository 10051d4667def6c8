// Package mission is the model of the Artemis II flight: where the spacecraft
// is, what a station on the ground hears of it, what the crew breathes and what
// is left of the stores. It is pure: everything follows from the mission time,
// the maneuvers flown and a seed, without any I/O and without a clock.
//
// Lengths are in km, times in s since lift-off, speeds in km/s, unless a name
// says otherwise. Positions are in the plane of the Moon's orbit, Earth at the
// origin, the axes not rotating, with the Moon on the positive x axis at the
// nominal flyby.
package mission

// Physical constants.
const (
	EarthGM      = 398600.4418  // km³/s², IERS Conventions 2010, table 1.1
	MoonGM       = 4902.800066  // km³/s², JPL DE440
	EarthRadius  = 6378.137     // km, equatorial, WGS 84
	MoonRadius   = 1737.4       // km, mean, IAU 2015
	MoonOrbit    = 398488.6     // km; the model's Moon flies a circle, as far away as the Moon was at the flyby
	LightSpeed   = 299792.458   // km/s, exact
	EarthTurning = 7.2921150e-5 // rad/s against the stars, IERS
)

// Phase is a part of the flight.
type Phase struct {
	ID    string // closed set, see Phases
	Title string
	// Correctable reports whether a course correction can be flown.
	Correctable bool
	// Over reports whether the flight has ended.
	Over bool
}

// The phases of the flight, in order; Aborting stands beside them.
var (
	PreLaunch  = Phase{ID: "pre-launch", Title: "Pre-launch"}
	Ascent     = Phase{ID: "ascent", Title: "Ascent"}
	EarthOrbit = Phase{ID: "earth-orbit", Title: "High Earth orbit", Correctable: true}
	Injection  = Phase{ID: "trans-lunar-injection", Title: "Trans-lunar injection"}
	Outbound   = Phase{ID: "outbound", Title: "Trans-lunar coast", Correctable: true}
	Flyby      = Phase{ID: "flyby", Title: "Lunar flyby", Correctable: true}
	Return     = Phase{ID: "return", Title: "Return coast", Correctable: true}
	Entry      = Phase{ID: "entry", Title: "Entry"}
	Splashdown = Phase{ID: "splashdown", Title: "Splashdown", Over: true}
	// Lost is a flight that maneuvers have led to where nobody comes back from.
	Lost = Phase{ID: "lost", Title: "No return", Over: true}
)
