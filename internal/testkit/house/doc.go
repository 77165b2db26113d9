// Package house holds the arrows of the house over everything that is linked. The linter sees what
// a file imports; this sees what comes along with it, so that "the agent never links kustomize"
// cannot be broken through a third package.
package house
