// Package junit writes reports in JUnit's XML, as far as build servers read it. It
// knows nothing of what was tested.
package junit

import (
	"encoding/xml"
	"fmt"
	"io"
)

// Suite is a report.
type Suite struct {
	XMLName  xml.Name `xml:"testsuite"`
	Name     string   `xml:"name,attr"`
	Tests    int      `xml:"tests,attr"`
	Failures int      `xml:"failures,attr"`
	Skipped  int      `xml:"skipped,attr"`
	At       string   `xml:"timestamp,attr,omitempty"` // ISO 8601
	Cases    []Case   `xml:"testcase"`
}

// Case is one thing that was tested.
type Case struct {
	Class   string   `xml:"classname,attr"`
	Name    string   `xml:"name,attr"`
	File    string   `xml:"file,attr,omitempty"`
	Line    int      `xml:"line,attr,omitempty"`
	Seconds string   `xml:"time,attr,omitempty"`
	Failure *Failure `xml:"failure,omitempty"` // nil where it passed
	Skipped *Skipped `xml:"skipped,omitempty"` // nil where it counts
	Output  string   `xml:"system-out,omitempty"`
}

// Skipped is why a case does not count.
type Skipped struct {
	Message string `xml:"message,attr"`
}

// Failure is why a case failed.
type Failure struct {
	Type    string `xml:"type,attr,omitempty"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// Write counts the cases and writes the report.
func (s Suite) Write(w io.Writer) error {
	s.Tests, s.Failures, s.Skipped = len(s.Cases), 0, 0
	for _, c := range s.Cases {
		if c.Failure != nil {
			s.Failures++
		}
		if c.Skipped != nil {
			s.Skipped++
		}
	}
	data, err := xml.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("write JUnit: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, data)
	return err
}
