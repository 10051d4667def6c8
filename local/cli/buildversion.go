package cli

import "runtime/debug"

// buildVersion is what the program was linked with, or else the version control's
// revision that it was built from, or "dev".
func buildVersion(linked string) string {
	if linked != "" {
		return linked
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}
