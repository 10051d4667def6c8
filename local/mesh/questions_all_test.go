//go:build faults

package mesh

// everyNth has every question asked.
const everyNth = 1
