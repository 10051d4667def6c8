package cli

import (
	"slices"

	"artemis.example/adversary"
	"artemis.example/catalog"
	"github.com/spf13/cobra"
)

// setCompletion has a shell complete what the commands below root take: pods,
// attacks, stages and the other closed sets of words.
func setCompletion(root *cobra.Command, at *place) {
	pods := func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return podsToName(cmd, at), cobra.ShellCompDirectiveNoFileComp
	}
	words := func(words ...string) cobra.CompletionFunc {
		return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
	}
	arguments := map[string]cobra.CompletionFunc{
		"exec": firstOnly(pods), "logs": firstOnly(pods), "who-can": firstOnly(pods), "attack": attacks,
	}
	flags := map[string]cobra.CompletionFunc{
		"from": pods, "to": pods, "verdict": words(verdictWords()...), "stage": words(catalog.Stages()...),
		"capture": words(captures...), "waypoint": words(waypoints...), "network-policy-action": words(actions...),
	}
	for _, cmd := range root.Commands() {
		if complete, ok := arguments[cmd.Name()]; ok {
			cmd.ValidArgsFunction = complete
		}
		for flag, complete := range flags {
			if cmd.Name() == "attack" && flag == "from" {
				continue // a file
			}
			if cmd.Flags().Lookup(flag) != nil {
				_ = cmd.RegisterFlagCompletionFunc(flag, complete) // it fails for a flag that is not there
			}
		}
	}
}

// firstOnly completes the first argument, and leaves the others to the shell.
func firstOnly(complete cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return complete(cmd, args, begun)
	}
}

// podsToName returns the running pods, or the services of the mission where
// nothing runs.
func podsToName(cmd *cobra.Command, at *place) []string {
	var names []string
	if c, err := connect(at); err == nil {
		if s, err := c.state(cmd.Context()); err == nil {
			for _, p := range s.Pods {
				names = append(names, p.Name())
			}
		}
	}
	if len(names) == 0 {
		for _, s := range catalog.Services() {
			names = append(names, s.Caller().String())
		}
	}
	slices.Sort(names)
	return names
}

// attacks completes the campaign's attacks, each with its title.
func attacks(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	c, err := adversary.Load()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var ids []string
	for _, a := range c.Attacks {
		if !slices.Contains(args, a.ID) {
			ids = append(ids, a.ID+"\t"+a.Title)
		}
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
