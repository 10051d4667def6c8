//go:build race

package mesh

// slowdown is what the race detector may cost.
const slowdown = 10
