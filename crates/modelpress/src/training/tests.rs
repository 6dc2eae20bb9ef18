//! Recipes, read.
