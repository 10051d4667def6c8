package mission

import (
	"math"
	"slices"
)

// Station is an antenna of the Deep Space Network.
type Station struct {
	Name      string
	Latitude  float64 // degrees, north positive
	Longitude float64 // degrees, east positive
}

// Stations returns the three complexes (DSN 301, Coverage and Geometry).
func Stations() []Station {
	return []Station{
		{"goldstone", 35.4267, -116.8900},
		{"madrid", 40.4314, -4.2481},
		{"canberra", -35.4014, 148.9817},
	}
}

// StationNamed returns a station, and whether there is one of that name.
func StationNamed(name string) (Station, bool) {
	all := Stations()
	i := slices.IndexFunc(all, func(s Station) bool { return s.Name == name })
	if i < 0 {
		return Station{}, false
	}
	return all[i], true
}

const (
	// Inclination of the flight's plane, that of the Moon's orbit, to the
	// equator in degrees; it moves between 18.3 and 28.6, and was near its
	// largest in 2026.
	inclination = 28.4
	// siderealAtLiftOff turns Greenwich so that the pad lies under the ascent.
	siderealAtLiftOff = 1.15 // rad

	// DownlinkMHz is Orion's S-band downlink.
	DownlinkMHz = 2287.5
	// MaskDeg is the elevation under which hills and air hide the spacecraft.
	MaskDeg = 6.0

	transmitDBm  = 37.0   // 5 W at the antenna
	orionGain    = 3.0    // dBi, a wide beam that needs no pointing
	stationGain  = 56.7   // dBi, 34 m at S-band (DSN 301-D, table 1)
	noiseDBmHz   = -183.4 // dBm/Hz at 33 K
	requiredEbN0 = 4.0    // dB, with coding and margin
	maxRateBps   = 6e6    // bit/s, what Orion's S-band modulates
	minRateBps   = 2000.0 // bit/s, below which the receiver has no lock
)

// Link is what a station hears of the spacecraft.
type Link struct {
	DBm          float64 `json:"dBm"`         // received, at the antenna
	DataRateBps  float64 `json:"dataRateBps"` // 0 without lock
	ElevationDeg float64 `json:"elevationDeg"`
	PathLossDB   float64 `json:"pathLossDb"`
	Visible      bool    `json:"-"` // above the mask, not behind the Moon, and with lock
	Reason       string  `json:"-"` // why it is not visible, in words; empty when it is
}

// PathLoss is the free-space path loss in dB at a range in km and a frequency
// in MHz (ITU-R P.525-4, equation 4).
func PathLoss(km, mhz float64) float64 {
	return 32.45 + 20*math.Log10(km) + 20*math.Log10(mhz)
}

// vector is in the equatorial frame, in km.
type vector struct{ x, y, z float64 }

func equatorial(s State) vector {
	sin, cos := math.Sincos(inclination * math.Pi / 180)
	return vector{s.X, s.Y * cos, s.Y * sin}
}

// Hears returns the link from a spacecraft's state to a station on the turning
// Earth.
func (st Station) Hears(s State) Link {
	lat := st.Latitude * math.Pi / 180
	lon := st.Longitude*math.Pi/180 + siderealAtLiftOff + EarthTurning*s.T
	sinLat, cosLat := math.Sincos(lat)
	sinLon, cosLon := math.Sincos(lon)
	up := vector{cosLat * cosLon, cosLat * sinLon, sinLat}
	p := equatorial(s)
	d := vector{p.x - EarthRadius*up.x, p.y - EarthRadius*up.y, p.z - EarthRadius*up.z}
	km := math.Sqrt(d.x*d.x + d.y*d.y + d.z*d.z)
	l := Link{ElevationDeg: math.Asin((d.x*up.x+d.y*up.y+d.z*up.z)/km) * 180 / math.Pi,
		PathLossDB: PathLoss(km, DownlinkMHz)}
	l.DBm = transmitDBm + orionGain + stationGain - l.PathLossDB
	if l.ElevationDeg > 0 {
		// Air and thermal noise of a low antenna, roughly with the secant.
		l.DBm -= 0.06 / math.Sin(math.Max(l.ElevationDeg, 1)*math.Pi/180)
	}
	rate := math.Pow(10, (l.DBm-noiseDBmHz-requiredEbN0)/10)
	switch {
	case l.ElevationDeg < MaskDeg:
		l.Reason = "below the horizon mask of 6 degrees"
	case behindMoon(s):
		l.Reason = "behind the Moon"
	case rate < minRateBps:
		l.Reason = "signal too weak"
	default:
		l.Visible, l.DataRateBps = true, math.Min(rate, maxRateBps)
	}
	return l
}

// behindMoon reports whether the Moon stands between Earth's centre and the
// spacecraft.
func behindMoon(s State) bool {
	m := MoonAt(s.T)
	r, d := s.DistanceEarth(), math.Hypot(m.X, m.Y)
	if r <= d {
		return false
	}
	cross := math.Abs(s.X*m.Y - s.Y*m.X)
	return s.X*m.X+s.Y*m.Y > 0 && cross/r < MoonRadius
}
