package mission

import (
	"errors"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func mustFly(t testing.TB, m ...Maneuver) *Flight {
	t.Helper()
	f, err := Fly(m)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > tolerance {
		t.Errorf("%s = %g, want %g ± %g", what, got, want, tolerance)
	}
}

// scan visits the flight closely.
func scan(f *Flight, step float64, visit func(s State)) {
	for t := 0.0; t <= f.End(); t += step {
		visit(f.At(t))
	}
}

func TestTheFlightIsAFreeReturnAsPublished(t *testing.T) {
	f := mustFly(t)
	// NASA's account of the flight: lift-off on 1 April 2026 at 22:35 UTC,
	// splashdown on 11 April at 00:07; 252,756 miles from Earth at the most, and
	// 4,067 above the Moon.
	near(t, "duration in days", f.End()/86400, 9.06, 0.2)
	var farthest, highest, closestMoon, fastest = 0.0, 0.0, math.Inf(1), 0.0
	scan(f, 30, func(s State) {
		farthest = math.Max(farthest, s.DistanceEarth())
		closestMoon = math.Min(closestMoon, s.DistanceMoon())
		if s.T > 3*3600 && s.T < 24*3600 {
			highest = math.Max(highest, s.Altitude())
		}
		fastest = math.Max(fastest, s.Speed())
	})
	near(t, "greatest distance in km", farthest, 406771, 100)
	near(t, "closest to the Moon's surface in km", closestMoon-MoonRadius, 6545, 5)
	near(t, "apogee of the high orbit in km", highest, 70000, 10)
	near(t, "entry speed in km/s", f.At(f.entry).Speed(), 11.0, 0.1)
	if fastest > 11.2 {
		t.Errorf("reaches %.2f km/s: nothing here may fly faster than escape", fastest)
	}
	last := f.At(f.End())
	near(t, "altitude at splashdown in km", last.Altitude(), 0, 0.01)
}

func TestPlaceAndSpeedAreContinuous(t *testing.T) {
	flights := map[string]*Flight{
		"nominal":                   mustFly(t),
		"corrected in Earth orbit":  mustFly(t, Maneuver{At: 36000, DeltaV: 4}),
		"corrected outbound":        mustFly(t, Maneuver{At: 200000, DeltaV: 2.3}),
		"corrected on the way back": mustFly(t, Maneuver{At: 640000, DeltaV: -6}),
		"aborted on the ascent":     mustFly(t, Maneuver{At: 100, Abort: true}),
		"aborted in Earth orbit":    mustFly(t, Maneuver{At: 40000, Abort: true}),
	}
	for name, f := range flights {
		t.Run(name, func(t *testing.T) {
			before := f.At(0)
			for at := 0.5; at < f.End(); at += 0.5 {
				if at > 100000 && at < f.End()-5000 && math.Mod(at, 200) > 5 {
					continue // far out nothing happens in seconds; edges lie near whole steps anyway
				}
				s := f.At(at)
				if at-before.T <= 0.5 {
					// No jump is larger than the motion itself allows, at 20 g.
					jump := math.Hypot(s.X-before.X-before.VX*0.5, s.Y-before.Y-before.VY*0.5)
					kick := math.Hypot(s.VX-before.VX, s.VY-before.VY)
					if jump > 0.06 || kick > 0.12 {
						t.Fatalf("at %.1f s: place jumps by %.3f km, velocity by %.4f km/s", at, jump, kick)
					}
				}
				before = s
			}
		})
	}
}

func TestEnergyIsConstantInFreeFall(t *testing.T) {
	f := mustFly(t)
	// The high Earth orbit is an ellipse: vis-viva must hold to rounding.
	want := -EarthGM / (parking + highApogee)
	for at := 12000.0; at < 90000; at += 500 {
		near(t, "specific energy in km²/s²", f.At(at).SpecificEnergy(), want, 1e-6)
	}
	// Under Earth and Moon it is Jacobi's constant that stays: in the turning
	// frame, with the indirect term of a frame that falls with Earth.
	jacobi := func(s State) float64 {
		m := MoonAt(s.T)
		potential := EarthGM/s.DistanceEarth() + MoonGM/s.DistanceMoon() - MoonGM*(s.X*m.X+
			s.Y*m.Y)/(MoonOrbit*MoonOrbit*MoonOrbit)
		return (s.VX*s.VX+s.VY*s.VY)/2 - moonRate*(s.X*s.VY-s.Y*s.VX) - potential
	}
	start := jacobi(f.At(95000))
	for at := 95000.0; at < flybyAt+returnBurnLag; at += 1000 {
		near(t, "Jacobi's constant in km²/s²", jacobi(f.At(at)), start, 2e-4)
	}
}

func TestACorrectionChangesTheFlightFromThenOn(t *testing.T) {
	plain, burned := mustFly(t), mustFly(t, Maneuver{At: 150000, DeltaV: 2.3})
	apart := func(at float64) float64 {
		a, b := plain.At(at), burned.At(at)
		return math.Hypot(a.X-b.X, a.Y-b.Y)
	}
	near(t, "distance before the burn in km", apart(149000), 0, 1e-9)
	near(t, "speed gained in m/s", (burned.At(150000+correctionFor).Speed()-plain.At(150000+
		correctionFor).Speed())*1000, 2.3, 0.05)
	if d := apart(250000); d < 100 || d > 2000 {
		t.Errorf("a day later the flights are %.0f km apart, want some hundred", d)
	}
	if p := burned.Phase(burned.End() + 1); p != Splashdown {
		t.Errorf("the corrected flight ends in phase %s", p.ID)
	}
}

func TestManeuversThatCannotBeFlown(t *testing.T) {
	for name, c := range map[string]struct {
		m    Maneuver
		want error
	}{
		"too large":                   {Maneuver{At: 200000, DeltaV: 51}, ErrOutOfRange},
		"nothing":                     {Maneuver{At: 200000}, ErrOutOfRange},
		"not a number":                {Maneuver{At: 200000, DeltaV: math.NaN()}, ErrOutOfRange},
		"on the ascent":               {Maneuver{At: 60, DeltaV: 1}, ErrPhase},
		"before lift-off":             {Maneuver{At: -10, DeltaV: 1}, ErrPhase},
		"in the atmosphere":           {Maneuver{At: mustFly(t).entry + 60, DeltaV: 1}, ErrPhase},
		"after splashdown":            {Maneuver{At: 900000, DeltaV: 1}, ErrPhase},
		"right before the injection":  {Maneuver{At: injectionPerigee - 400, DeltaV: 1}, ErrPhase},
		"before the apogee is raised": {Maneuver{At: 5000, DeltaV: 2.3}, ErrPhase},
		"abort after splashdown":      {Maneuver{At: 900000, Abort: true}, ErrPhase},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Fly([]Maneuver{c.m}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestEveryFlightEndsAndStaysWithinBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.Float64Range(92000, 720000).Draw(t, "at")
		dv := rapid.Float64Range(0.1, MaxCorrection).Draw(t, "deltaV")
		if rapid.Bool().Draw(t, "backwards") {
			dv = -dv
		}
		f, err := Fly([]Maneuver{{At: at, DeltaV: dv}})
		if err != nil {
			t.Fatal(err)
		}
		if f.End() <= at || f.End() > longest {
			t.Fatalf("ends at %g", f.End())
		}
		for _, s := range f.Sample(60) {
			if math.IsNaN(s.X+s.Y+s.VX+s.VY) || s.Altitude() < -1 || s.DistanceEarth() > 3e6 {
				t.Fatalf("impossible state %+v", s)
			}
		}
		if p := f.Phase(f.End()); !p.Over {
			t.Fatalf("phase %s at the end", p.ID)
		}
	})
}

func TestPhasesComeInOrder(t *testing.T) {
	f := mustFly(t)
	var seen []string
	for at := -10.0; at < f.End()+10; at += 10 {
		if p := f.Phase(at).ID; len(seen) == 0 || seen[len(seen)-1] != p {
			seen = append(seen, p)
		}
	}
	want := []string{"pre-launch", "ascent", "earth-orbit", "trans-lunar-injection", "outbound", "flyby", "return",
		"entry", "splashdown"}
	if len(seen) != len(want) {
		t.Fatalf("phases %v, want %v", seen, want)
	}
	for i := range want {
		if seen[i] != want[i] {
			t.Fatalf("phases %v, want %v", seen, want)
		}
	}
}

func TestPathLossAndLightTimeFollowTheirFormulas(t *testing.T) {
	// 4πd/λ, in decibels.
	for _, km := range []float64{1, 1000, 384400} {
		lambda := LightSpeed * 1000 / (DownlinkMHz * 1e6)
		near(t, "path loss in dB", PathLoss(km, DownlinkMHz), 20*math.Log10(4*math.Pi*km*1000/lambda), 0.01)
	}
	near(t, "light time at the Moon in s", State{X: 384400}.LightTime(), 1.2822, 0.0001)
}

func TestTheGroundSeesTheSpacecraftNearlyAlwaysAndHandsItOver(t *testing.T) {
	f := mustFly(t)
	total, seen, handovers, last := 0, 0, 0, ""
	scan(f, 300, func(s State) {
		if s.T < 7200 || s.T > f.entry {
			return
		}
		total++
		best, at := math.Inf(-1), ""
		for _, st := range Stations() {
			if l := st.Hears(s); l.Visible && l.ElevationDeg > best {
				best, at = l.ElevationDeg, st.Name
			}
		}
		if at == "" {
			return
		}
		seen++
		if last != "" && at != last {
			handovers++
		}
		last = at
	})
	if part := float64(seen) / float64(total); part < 0.97 {
		t.Errorf("a station sees the spacecraft in %.1f %% of the time, want 97", part*100)
	}
	if handovers < 20 || handovers > 40 {
		t.Errorf("%d hand-overs, want about three a day for nine days", handovers)
	}
}

func TestTheSignalAtTheMoonIsUsable(t *testing.T) {
	f := mustFly(t)
	s := f.At(flybyAt - 8*3600)
	for _, st := range Stations() {
		if l := st.Hears(s); l.Visible {
			near(t, "path loss in dB", l.PathLossDB, 211.7, 0.3)
			if l.DataRateBps < 5e5 || l.DataRateBps > maxRateBps {
				t.Errorf("%s: %.0f bit/s", st.Name, l.DataRateBps)
			}
		}
	}
}

func TestTheCrewIsAlive(t *testing.T) {
	f := mustFly(t)
	scan(f, 600, func(s State) {
		for _, v := range VitalsOf(s.T, f.Load(s.T), 7) {
			if v.HeartRateBpm < 40 || v.HeartRateBpm > 160 || v.SpO2Percent < 93 || v.SpO2Percent > 100 ||
				v.TemperatureC < 35.8 || v.TemperatureC > 38 || v.BreathsMin < 8 || v.BreathsMin > 32 {
				t.Fatalf("at %.0f s: %+v", s.T, v)
			}
		}
		a := AirAt(s.T, 7)
		if a.CO2Pa > 530 || a.OxygenKPa < 19.5 || a.OxygenKPa > 23 || a.PressureKPa < 100 {
			t.Fatalf("at %.0f s: %+v", s.T, a)
		}
	})
}

func TestStoresOnlyRunDownAndLast(t *testing.T) {
	f := mustFly(t, Maneuver{At: 200000, DeltaV: 12})
	before := f.StoresAt(0)
	scan(f, 1000, func(s State) {
		now := f.StoresAt(s.T)
		if now.OxygenKg > before.OxygenKg || now.WaterKg > before.WaterKg || now.NitrogenKg > before.NitrogenKg ||
			now.PropellantKg > before.PropellantKg {
			t.Fatalf("at %.0f s something was filled up: %+v after %+v", s.T, now, before)
		}
		before = now
	})
	if before.OxygenKg < 10 || before.WaterKg < 50 || before.NitrogenKg < 5 || before.PropellantKg < 1000 {
		t.Errorf("at the end there is too little: %+v", before)
	}
}

func TestTheSameSeedGivesTheSameFlight(t *testing.T) {
	a, b := mustFly(t, Maneuver{At: 150000, DeltaV: 1}), mustFly(t, Maneuver{At: 150000, DeltaV: 1})
	for at := 0.0; at < a.End(); at += 5000 {
		if a.At(at) != b.At(at) {
			t.Fatalf("differs at %g", at)
		}
		if VitalsOf(at, 0, 3)[2] != VitalsOf(at, 0, 3)[2] {
			t.Fatal("vitals differ")
		}
	}
	if VitalsOf(5000, 0, 3)[2] == VitalsOf(5000, 0, 4)[2] {
		t.Error("another seed gives the same vitals")
	}
}

func TestFairSeedsLaunchAndStormySeedsWait(t *testing.T) {
	start := time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
	days := func(seed uint64) (held int) {
		for h := range 24 * 30 {
			if len(WeatherAt(start.Add(time.Duration(h)*time.Hour), seed).Violations()) > 0 {
				held++
			}
		}
		return held
	}
	if held := days(1); held != 0 {
		t.Errorf("seed 1 is fair, but holds for %d of 720 hours", held)
	}
	if held := days(5); held < 100 {
		t.Errorf("seed 5 is stormy, but holds for %d of 720 hours only", held)
	}
}

func BenchmarkFly(b *testing.B) {
	for b.Loop() {
		if _, err := Fly(nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFlyWithACorrection(b *testing.B) {
	for b.Loop() {
		if _, err := Fly([]Maneuver{{At: 200000, DeltaV: 2.3}}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAt(b *testing.B) {
	f := mustFly(b)
	b.ReportAllocs()
	at := 0.0
	for b.Loop() {
		at += 977
		if at > f.End() {
			at = 0
		}
		_ = f.At(at)
	}
}
