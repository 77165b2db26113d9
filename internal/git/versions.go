package git

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// versions chooses among tags the one of the highest version in a range. Ranges and versions are read as
// Flux reads them: a tag is a version if it has all three numbers, with or without a "v" in front, and a
// range admits no prerelease unless it names one (">=1.0.0-0").
type versions struct {
	constraint *semver.Constraints
	filter     *regexp.Regexp
	best       *semver.Version
	// prereleases means that a tag was left out which is in the range but for being a prerelease.
	prereleases bool
}

// newVersions reads a range and a filter. Its error is ErrInvalidReference.
func newVersions(within, filter string) (*versions, error) {
	v := &versions{}
	var err error
	if within == "" && filter != "" {
		return nil, fail(ErrInvalidReference, "semverFilter is set and semver is not")
	}
	if within == "" {
		return v, nil
	}
	if v.constraint, err = semver.NewConstraint(within); err != nil {
		return nil, fail(ErrInvalidReference, "semver %q is not a range of versions, as \">=1.0.0 <2.0.0\" is", within)
	}
	if filter == "" {
		return v, nil
	}
	if v.filter, err = regexp.Compile(filter); err != nil {
		return nil, fail(ErrInvalidReference, "semverFilter %q is not a regular expression", filter)
	}
	return v, nil
}

// consider takes a tag if it is a higher version than those before.
func (v *versions) consider(tag string) {
	if v.filter != nil && !v.filter.MatchString(tag) {
		return
	}
	if _, err := semver.StrictNewVersion(strings.TrimPrefix(tag, "v")); err != nil {
		return
	}
	version, err := semver.NewVersion(tag)
	if err != nil {
		return
	}
	if !v.constraint.Check(version) {
		if version.Prerelease() != "" {
			release, err := version.SetPrerelease("")
			v.prereleases = v.prereleases || err == nil && v.constraint.Check(&release)
		}
		return
	}
	if v.best == nil || compareVersions(version, v.best) > 0 {
		v.best = version
	}
}

// highest is the tag to follow, or empty.
func (v *versions) highest() string {
	if v.best == nil {
		return ""
	}
	return v.best.Original()
}

// remark names what keeps people from finding their tags.
func (v *versions) remark() string {
	if v.prereleases {
		return ": there are prereleases, which a range admits if it names one, as \">=1.0.0-0\" does"
	}
	return ""
}

// compareVersions orders versions, those that are equal to SemVer by their build metadata: part by
// part, numbers as numbers. What is still equal, as 1.0.0 and v1.0.0, is ordered by name, so that the
// choice is the same in each check.
func compareVersions(a, b *semver.Version) int {
	return cmp.Or(
		a.Compare(b),
		slices.CompareFunc(strings.Split(a.Metadata(), "."), strings.Split(b.Metadata(), "."), compareParts),
		cmp.Compare(a.Original(), b.Original()),
	)
}

func compareParts(a, b string) int {
	m, errA := strconv.ParseUint(a, 10, 64)
	n, errB := strconv.ParseUint(b, 10, 64)
	if errA == nil && errB == nil {
		return cmp.Compare(m, n)
	}
	return cmp.Compare(a, b)
}
