// Nine buildings in a box of 400 m x 300 m x 100 m; wind comes in at x = 0.
// Made into street.msh by: gmsh -3 -bin -format msh22 street.geo
// -setnumber coarse 1.7 makes the mesh of examples/fluidity, with cells that much longer.
DefineConstant[ coarse = 1 ];
SetFactory("OpenCASCADE");
Box(1) = {0, 0, 0, 400, 300, 100};
Box(2) = {90, 50, 0, 45, 50, 25};
Box(3) = {95, 120, 0, 40, 55, 35};
Box(4) = {90, 195, 0, 45, 50, 20};
Box(5) = {155, 45, 0, 40, 60, 30};
Box(6) = {155, 125, 0, 35, 45, 55};
Box(7) = {155, 190, 0, 40, 60, 25};
Box(8) = {215, 55, 0, 50, 45, 40};
Box(9) = {210, 120, 0, 55, 55, 20};
Box(10) = {215, 195, 0, 45, 45, 45};
BooleanDifference(100) = { Volume{1}; Delete; }{ Volume{2:10}; Delete; };

e = 0.01;
inflow() = Surface In BoundingBox {-e, -e, -e, e, 300 + e, 100 + e};
outflow() = Surface In BoundingBox {400 - e, -e, -e, 400 + e, 300 + e, 100 + e};
south() = Surface In BoundingBox {-e, -e, -e, 400 + e, e, 100 + e};
north() = Surface In BoundingBox {-e, 300 - e, -e, 400 + e, 300 + e, 100 + e};
sky() = Surface In BoundingBox {-e, -e, 100 - e, 400 + e, 300 + e, 100 + e};
walls() = Boundary{ Volume{100}; };
walls() -= {inflow(), outflow(), south(), north(), sky()};
Physical Surface("inflow", 1) = inflow();
Physical Surface("outflow", 2) = outflow();
Physical Surface("sides", 3) = {south(), north()};
Physical Surface("sky", 4) = sky();
Physical Surface("ground and buildings", 5) = walls();
Physical Volume("air", 10) = {100};

// fine in the streets, coarse above and around
Field[1] = Box;
Field[1].XMin = 60; Field[1].XMax = 300;
Field[1].YMin = 30; Field[1].YMax = 270;
Field[1].ZMin = 0; Field[1].ZMax = 40;
Field[1].Thickness = 80;
Field[1].VIn = 10.0*coarse; Field[1].VOut = 32*coarse;
Background Field = 1;
Mesh.MeshSizeExtendFromBoundary = 0;
Mesh.MeshSizeFromPoints = 0;
Mesh.MeshSizeFromCurvature = 0;
Mesh.Optimize = 1;
