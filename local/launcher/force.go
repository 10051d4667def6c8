package launcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"artemis.example/policy/manifest"
	"artemis.example/policy/topology"
)

// change is what is asked to come into force.
type change struct {
	stage string // empty for the present one
	// acceptLoss says that what the manifests protect less than before, or less
	// than a Cell needs, is meant.
	acceptLoss bool
}

// errWritten is a file that somebody has open for writing: what is in it now is
// not what it will be.
type errWritten string

// Error names the file.
func (e errWritten) Error() string {
	return string(e) + " is being written; it takes effect when it is closed"
}

// read returns the manifests on disk, when they may come into force: whole,
// strictly right, and, unless that is accepted, without a protection less.
func (l *launcher) read(acceptLoss bool) (*manifest.Project, manifest.Losses, error) {
	p, err := manifest.ReadProject(l.resources.Root, l.options.Adversary)
	if err != nil {
		return nil, nil, err
	}
	for name := range p.Files() {
		if path := l.path(name); beingWritten(path) {
			return nil, nil, errWritten(path)
		}
	}
	losses, err := p.Lost(l.project)
	if err != nil {
		return nil, nil, err
	}
	if len(losses) > 0 && !acceptLoss {
		verb := "apply"
		if l.project == nil {
			verb = "up"
		}
		return nil, nil, fmt.Errorf("%w\nrestore it, or, if that is meant, say so: %s %s --accept-loss", losses,
			l.options.Command, verb)
	}
	return p, losses, nil
}

// world makes of a project what it is at a stage.
func (l *launcher) makeWorld(p *manifest.Project, stage string) (*topology.World, []workload, error) {
	set, err := p.Stage(stage)
	if err != nil {
		return nil, nil, err
	}
	w, err := topology.Build(set, l.alloc)
	if err != nil {
		return nil, nil, err
	}
	loads, err := workloads(w)
	if l.options.TimeScale != 0 {
		for i := range loads {
			loads[i].Env = append(loads[i].Env, fmt.Sprintf("MISSION_TIME_SCALE=%g", l.options.TimeScale))
		}
	}
	return w, append(loads, l.envoys.workloads(w)...), err
}

// SetStage makes the manifests of a stage the ones in force.
func (l *launcher) SetStage(ctx context.Context, stage string) error {
	return l.apply(ctx, change{stage: stage})
}

// Apply puts the manifests on disk in force now.
func (l *launcher) Apply(ctx context.Context, acceptLoss bool) error {
	return l.apply(ctx, change{acceptLoss: acceptLoss})
}

// apply reads everything again and puts it in force, or leaves all as it is. What
// is on disk may be bad when a stage is asked for: then it is that stage of the
// last good manifests.
func (l *launcher) apply(ctx context.Context, c change) error {
	l.applying.Lock()
	defer l.applying.Unlock()
	stage := cmp.Or(c.stage, l.stage())
	p, losses, bad := l.read(c.acceptLoss)
	if bad != nil {
		if c.stage == "" || l.project == nil {
			return bad
		}
		p = l.project
	}
	w, loads, err := l.makeWorld(p, stage)
	if err != nil {
		return err
	}
	configs, err := l.envoys.generate(ctx, stage, p)
	if err != nil {
		return err
	}
	// A waypoint knows its Services before anybody is sent through it, and as long
	// as anybody is.
	through := slices.ContainsFunc(w.Services, func(s *topology.Service) bool { return s.Waypoint != nil })
	if through {
		if err := l.envoys.set(ctx, configs, l.runs); err != nil {
			return err
		}
	}
	if err := l.mesh.Apply(stage, w); err != nil {
		return fmt.Errorf("put the manifests in force: %w", err)
	}
	l.inForce(p, stage, bad)
	if len(losses) > 0 {
		fmt.Fprintf(os.Stderr, "artemis: protection was given up on purpose:\n%v\n", losses)
	}
	if !through {
		if err := l.envoys.set(ctx, configs, l.runs); err != nil {
			return err
		}
	}
	err = l.reconcile(context.WithoutCancel(ctx), w, loads)
	l.notify()
	return err
}

// inForce notes what is in force from now on, and what is wrong on disk.
func (l *launcher) inForce(p *manifest.Project, stage string, bad error) {
	l.project = p
	missing, _ := p.Missing(stage) // it has loaded that stage
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problem, l.unprotected = "", nil
	if bad != nil {
		l.problem = bad.Error()
	}
	for _, loss := range missing {
		l.unprotected = append(l.unprotected, loss.Error())
	}
}

// edited puts edited files in force, and reports whether it has to be asked again
// because one is still being written.
func (l *launcher) edited(ctx context.Context) (again bool) {
	err := l.apply(ctx, change{})
	var written errWritten
	switch {
	case ctx.Err() != nil:
	case errors.As(err, &written):
		l.setProblem(err.Error())
		return true
	case err != nil:
		fmt.Fprintf(os.Stderr, "artemis: the manifests on disk are not in force, the last good ones are:\n%v\n", err)
		l.setProblem(err.Error())
	default:
		fmt.Fprintln(os.Stderr, "artemis: the edited manifests are in force")
	}
	return false
}
