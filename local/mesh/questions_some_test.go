//go:build !faults

package mesh

// everyNth is how many of the questions of TestExplainAndLintAgreeWithTheLiveMesh
// are asked: one of so many.
const everyNth = 12
